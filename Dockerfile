# The image of docker-compose.temporal.yml: this package with its command line, and the example. It was not built by this
# project's tests. For your own application: keep the first stage, copy your code in the second.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY docs/reference/openapi.json docs/reference/openapi.json
COPY dashboard dashboard
COPY activities activities
COPY workflows workflows
COPY durable_tasks durable_tasks
RUN /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt ".[cli]"

FROM python:3.11.13-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A new volume takes owner and mode of the folder that it covers.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin tasks \
    && install --directory --owner tasks --group tasks --mode 0700 /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY examples examples
USER 10001:10001
CMD ["python", "-m", "examples.compose.app"]
