"""The service over HTTP: a table of routes, and the middleware around them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, get_args

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.convertors import Convertor, register_url_convertor

from ml_backend import schemas
from ml_backend.errors import InvalidRequest
from ml_backend.rest.auth import OPEN_PATHS, Authentication, accepted, warn_if_open
from ml_backend.rest.body_limit import BodyLimit
from ml_backend.rest.error_responses import STATUS_DESCRIPTIONS, add_handlers
from ml_backend.rest.metrics import Metrics, RequestMetrics
from ml_backend.rest.npz import pack, unpack
from ml_backend.rest.openapi import ANY_BODY, NPZ_BODY, Npz, describe
from ml_backend.service import MODEL_CLASS, Service
from ml_backend.settings import ClassifierName, Settings
from ml_backend.storage.dataset import Kind


def create_app(settings: Settings, service: Service | None = None) -> FastAPI:
    """The application that serves the model directory of `settings`, and closes its service when it ends."""
    service = service or Service(settings)
    metrics = Metrics(service.overview)
    routes = Routes(service, metrics, settings)
    warn_if_open(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.close)

    app = FastAPI(title="ml-backend", version=version("label-studio-activelab"), lifespan=lifespan)
    add_handlers(app)
    # The last one is the outermost.
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_mb << 20)
    app.add_middleware(Authentication, settings=settings)
    app.add_middleware(RequestMetrics, metrics=metrics)

    def add(method: str, path: str, endpoint: Callable[..., Any], *refusals: int, **more: Any) -> None:
        responses: dict[int | str, dict[str, Any]] = {
            status: {"description": STATUS_DESCRIPTIONS[status]} for status in refusals
        }
        app.add_api_route(path, endpoint, methods=[method], responses=responses, **more)

    for path in OPEN_PATHS:
        add("GET", path, routes.health)
    add("GET", "/metrics", routes.metrics, response_class=PlainTextResponse)
    add("GET", "/versions", routes.versions)
    add("POST", "/setup", routes.setup)
    add("POST", "/predict", routes.predict, 503)
    add("POST", "/webhook", routes.webhook, openapi_extra=ANY_BODY)
    register_url_convertor("name", ProjectName())
    project = "/api/projects/{project:name}"
    add("PUT", f"{project}/items", routes.put_items, response_class=Npz, openapi_extra=NPZ_BODY)
    add("POST", f"{project}/texts", routes.post_texts, 404)
    add("POST", f"{project}/media", routes.post_media, 404, openapi_extra=NPZ_BODY)
    add("POST", f"{project}/train", routes.train, 404, status_code=202)
    add("GET", f"{project}/jobs/{{job}}", routes.job, 404)
    add("DELETE", f"{project}/jobs/{{job}}", routes.cancel, 404, 409)
    add("GET", f"{project}/model", routes.model)
    add("DELETE", f"{project}/model", routes.forget_model, 404, 409)
    add("POST", f"{project}/rollback", routes.roll_back, 404, 409)
    add("GET", f"{project}/probabilities", routes.probabilities, 404, 409, 503, response_class=Npz)
    add("POST", f"{project}/spread", routes.spread, 404, 503)
    add("POST", f"{project}/distinct", routes.distinct, 404, 503)
    describe(app, guarded=bool(accepted(settings)))
    return app


class ProjectName(Convertor[str]):
    """A project's name in a path: an id, or ID/questions/NAME. Which parts are valid is checked behind the route."""

    regex = "[^/]+(?:/questions/[^/]+)?"

    def convert(self, value: str) -> str:
        """The name in a path."""
        return value

    def to_string(self, value: str) -> str:
        """The path of a name."""
        return value


class Routes:
    """One method per route, which translates and delegates. Those that may wait run in a thread each."""

    def __init__(self, service: Service, metrics: Metrics, settings: Settings) -> None:
        """Serve `service` within the limits of `settings`."""
        self._service = service
        self._metrics = metrics
        self._max_bytes = settings.max_body_mb << 20
        self._max_tasks = settings.max_tasks
        self._health = schemas.Health(
            model_class=MODEL_CLASS,
            version=version("label-studio-activelab"),
            classifiers=list(get_args(ClassifierName)),
        )

    async def health(self) -> schemas.Health:
        """Report that the server is up. Touches neither model nor disk."""
        return self._health

    def metrics(self) -> Response:
        """Return metrics of requests, jobs and models for Prometheus."""
        return PlainTextResponse(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)

    def versions(self, project: str | None = None) -> schemas.Versions:
        """List the stored model versions, newest first: of a project, or of all."""
        return schemas.Versions(versions=self._service.versions(project))

    def setup(self, request: schemas.SetupRequest) -> schemas.SetupResponse:
        """Return the current model version to Label Studio."""
        return schemas.SetupResponse(model_version=self._service.version(str(request.project or "")))

    def predict(self, request: schemas.PredictRequest) -> schemas.PredictResponse:
        """Predict the classes of Label Studio's tasks."""
        if len(request.tasks) > self._max_tasks:
            raise InvalidRequest(f"These are {len(request.tasks)} tasks. Send at most {self._max_tasks} at a time.")
        return self._service.predict(str(request.project or ""), request.label_config or "", request.tasks)

    async def webhook(self, request: Request) -> dict[str, Any]:
        """Handle an event of Label Studio, whatever its body is."""
        return await run_in_threadpool(self._service.webhook, await request.body())

    async def put_items(self, project: str, request: Request, kind: Kind = "text") -> Response:
        """Replace a project's items. Returns which texts, images or recordings are needed."""
        body = await request.body()

        def work() -> bytes:
            expected = {"ids": "int64", "hashes": "uint8", "sources": "uint8"}
            arrays = unpack(body, expected, self._max_bytes, optional=["sources"])
            missing = self._service.set_items(project, arrays["ids"], arrays["hashes"], kind, arrays.get("sources"))
            return pack({"missing": missing})

        return Npz(await run_in_threadpool(work))

    def post_texts(self, project: str, request: schemas.TextsRequest) -> schemas.TextsResponse:
        """Store texts."""
        return schemas.TextsResponse(stored=self._service.add_texts(project, request.texts))

    async def post_media(self, project: str, request: Request) -> schemas.MediaResponse:
        """Store small copies of images or recordings."""
        body = await request.body()

        def work() -> list[int]:
            expected = {"sources": "uint8", "sizes": "int64", "contents": "uint8"}
            arrays = unpack(body, expected, self._max_bytes)
            return self._service.add_media(project, arrays["sources"], arrays["sizes"], arrays["contents"])

        return schemas.MediaResponse(unusable=await run_in_threadpool(work))

    def train(self, project: str, request: schemas.TrainRequest) -> schemas.JobState:
        """Start a training."""
        return schemas.JobState.model_validate(self._service.train(project, request))

    def job(self, project: str, job: str) -> schemas.JobState:
        """Return a job and its progress."""
        return schemas.JobState.model_validate(self._service.job(project, job))

    def cancel(self, project: str, job: str) -> schemas.JobState:
        """Cancel a job unless it has ended."""
        return schemas.JobState.model_validate(self._service.cancel(project, job))

    def roll_back(self, project: str, request: schemas.RollBackRequest) -> schemas.ModelState:
        """Serve a stored version again."""
        return self._service.roll_back(project, request.model_version)

    def model(self, project: str) -> schemas.ModelState:
        """Describe the current model."""
        return self._service.model(project)

    def forget_model(self, project: str) -> schemas.ModelState:
        """Remove all model versions. Returns the empty state."""
        self._service.forget_model(project)
        return self._service.model(project)

    def probabilities(self, project: str) -> Response:
        """Return the out-of-sample probabilities of all items."""
        return Npz(pack(self._service.probabilities(project)))

    def spread(self, project: str, request: schemas.SpreadRequest) -> schemas.SpreadResponse:
        """Choose items that differ from each other."""
        ids = self._service.spread(project, request.ids, request.count, request.seed)
        return schemas.SpreadResponse(ids=ids)

    def distinct(self, project: str, request: schemas.DistinctRequest) -> schemas.DistinctResponse:
        """Choose the first items that are no near-duplicates of each other."""
        return schemas.DistinctResponse(ids=self._service.distinct(project, request.ids, request.count))
