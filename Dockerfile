# One image with both commands, `ml-backend` and `connector`: docs/deployment.md.
#   docker build -t label-studio-activelab .
#   docker build -t label-studio-activelab:cuda --build-arg TORCH=cuda .

ARG PYTHON=3.12-slim-trixie

FROM python:${PYTHON} AS wheel
WORKDIR /src
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt hatchling
COPY pyproject.toml README.md LICENSE label_config.xml ./
COPY connector connector
COPY ml_backend ml_backend
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist .

# Everything that is not ours. A change of our code leaves this stage, and its layer in the image, as they are.
FROM python:${PYTHON} AS build
WORKDIR /src
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY constraints.txt ./
# PyPI's torch includes CUDA on Linux. PyTorch's own index has a build without it.
ARG TORCH=cpu
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
RUN case "${TORCH}" in \
      cpu) pip install --no-cache-dir --no-deps --index-url "${TORCH_CPU_INDEX}" -c constraints.txt torch ;; \
      cuda) pip install --no-cache-dir -c constraints.txt torch ;; \
      *) echo "TORCH is cpu or cuda, not ${TORCH}" >&2; exit 1 ;; \
    esac
# Process 1 has to reap the orphans of a cancelled training.
RUN pip install --no-cache-dir dumb-init==1.2.5.post1
COPY pyproject.toml ./
ARG EXTRAS=ml-backend,weights,images,audio,postgresql,machines,simulate
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
      print(*p['dependencies'], *(one for e in '${EXTRAS}'.split(',') for one in p['optional-dependencies'][e]), sep='\n')" \
      > requirements.txt \
    && pip install --no-cache-dir -c constraints.txt -r requirements.txt

FROM python:${PYTHON}
RUN useradd --uid 10001 --create-home app \
    && install --directory --owner app /models /state
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ML_BACKEND_HOST=0.0.0.0 \
    ML_BACKEND_MODEL_DIR=/models \
    HF_HOME=/models/huggingface \
    CONNECTOR_STATE=sqlite:////state/state.sqlite
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip install --no-cache-dir --no-deps /dist/*.whl
USER 10001
WORKDIR /home/app
VOLUME ["/models", "/state"]
EXPOSE 9090
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s --start-interval=2s --retries=3 \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('ML_BACKEND_PORT', 9090)), timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["dumb-init", "--single-child", "--"]
CMD ["ml-backend", "serve"]
