"""The service over HTTP: a table of routes, and one map from errors to statuses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_backend import errors, schemas
from ml_backend.arrays import pack, unpack
from ml_backend.service import MODEL_CLASS, Service
from ml_backend.settings import Settings

NPZ = "application/x-npz"

STATUSES: dict[type[errors.BackendError], HTTPStatus] = {
    errors.InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.EncoderUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.CorruptModel: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def create_app(settings: Settings) -> FastAPI:
    """The application that serves the model directory of `settings`."""
    service = Service(settings)
    routes = Routes(service, settings.max_body_mb << 20)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.close)

    app = FastAPI(title="ml-backend", version=version("label-studio-activelab"), lifespan=lifespan)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_mb << 20)
    for method, path, endpoint, status in (
        ("GET", "/health", routes.health, 200),
        ("POST", "/setup", routes.setup, 200),
        ("POST", "/predict", routes.predict, 200),
        ("POST", "/webhook", routes.webhook, 200),
        ("PUT", "/api/projects/{project}/items", routes.put_items, 200),
        ("POST", "/api/projects/{project}/texts", routes.post_texts, 200),
        ("POST", "/api/projects/{project}/train", routes.train, 202),
        ("GET", "/api/projects/{project}/jobs/{job}", routes.job, 200),
        ("GET", "/api/projects/{project}/model", routes.model, 200),
        ("DELETE", "/api/projects/{project}/model", routes.forget_model, 200),
        ("GET", "/api/projects/{project}/probabilities", routes.probabilities, 200),
        ("POST", "/api/projects/{project}/spread", routes.spread, 200),
    ):
        app.add_api_route(path, endpoint, methods=[method], status_code=status)
    for error, code in STATUSES.items():
        app.add_exception_handler(error, _answer(code))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)
    return app


class Routes:
    """One method a route: it translates and delegates. Those that wait for anything run in a thread each."""

    def __init__(self, service: Service, max_bytes: int) -> None:
        """Serve `service`, unpacking bodies to `max_bytes` at most."""
        self._service = service
        self._max_bytes = max_bytes
        self._health = schemas.Health(model_class=MODEL_CLASS, version=version("label-studio-activelab"))

    async def health(self) -> schemas.Health:
        """Say that the server is up; touches neither model nor disk."""
        return self._health

    def setup(self, request: schemas.SetupRequest) -> schemas.SetupResponse:
        """Tell Label Studio the version it is connected to."""
        return schemas.SetupResponse(model_version=self._service.version(str(request.project or "")))

    def predict(self, request: schemas.PredictRequest) -> schemas.PredictResponse:
        """Classify Label Studio's tasks."""
        return self._service.predict(str(request.project or ""), request.label_config or "", request.tasks)

    async def webhook(self) -> dict[str, str]:
        """Take any event of Label Studio and do nothing: the connector says when to train."""
        return {}

    async def put_items(self, project: str, request: Request) -> Response:
        """State a project's items; answers which texts are needed."""
        body = await request.body()

        def work() -> bytes:
            arrays = unpack(body, {"ids": "int64", "hashes": "uint8"}, self._max_bytes)
            return pack({"missing": self._service.set_items(project, arrays["ids"], arrays["hashes"])})

        return Response(await run_in_threadpool(work), media_type=NPZ)

    def post_texts(self, project: str, request: schemas.TextsRequest) -> schemas.TextsResponse:
        """Store texts."""
        return schemas.TextsResponse(stored=self._service.add_texts(project, request.texts))

    def train(self, project: str, request: schemas.TrainRequest, response: Response) -> schemas.JobState:
        """Start a training, or name the one that runs."""
        job, started = self._service.train(project, request)
        if not started:
            response.status_code = HTTPStatus.CONFLICT
        return schemas.JobState.model_validate(job)

    def job(self, project: str, job: str) -> schemas.JobState:
        """Say how far a job is."""
        return schemas.JobState.model_validate(self._service.job(project, job))

    def model(self, project: str) -> schemas.ModelState:
        """Describe the current model."""
        return self._service.model(project)

    def forget_model(self, project: str) -> schemas.ModelState:
        """Forget all model versions; answers what is left."""
        self._service.forget_model(project)
        return self._service.model(project)

    def probabilities(self, project: str) -> Response:
        """Give the out-of-sample probabilities of all items."""
        return Response(pack(self._service.probabilities(project)), media_type=NPZ)

    def spread(self, project: str, request: schemas.SpreadRequest) -> schemas.SpreadResponse:
        """Choose items that are unlike each other."""
        ids = self._service.spread(project, request.ids, request.count, request.seed)
        return schemas.SpreadResponse(ids=ids)


class BodyLimit:
    """Refuses request bodies above a limit, announced or not, before they are in memory."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        """Wrap `app`."""
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting its body."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                detail = f"The body is larger than {self._max_bytes >> 20} MiB; send less at a time."
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
            return message

        await self._app(scope, counted, send)


def _answer(status: HTTPStatus) -> Any:
    async def handler(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status)

    return handler


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    return JSONResponse({"detail": f"The request is invalid at {where}: {first['msg']}."}, 422)


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    # The server logs the traceback; the client gets none.
    return JSONResponse({"detail": "The backend failed unexpectedly; its log says why."}, 500)
