# syntax=docker/dockerfile:1
# Build: docker build -t tusserver .
# Run:   docker run -p 1080:1080 -v uploads:/data tusserver
# With Redis: docker compose -f docs/deploy/compose.yaml up
FROM python:3.13-slim AS build
COPY . /source
RUN python -m venv /opt/tusserver && /opt/tusserver/bin/pip install --no-cache-dir /source

FROM python:3.13-slim
COPY --from=build /opt/tusserver /opt/tusserver
# A fixed number, so that the owner of the volume can be set from outside.
RUN useradd --system --uid 10001 --home-dir /data --no-create-home tusserver \
    && install -d -o tusserver -g tusserver /data
ENV PATH=/opt/tusserver/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TUSSERVER_HOST=0.0.0.0 \
    TUSSERVER_PORT=1080 \
    TUSSERVER_UPLOAD_DIR=/data
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 1080
# Alive, not ready: a Redis that is away for a minute must not get the server restarted.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['TUSSERVER_PORT'] + '/healthz', timeout=4)"]
# `docker stop` waits 10 s, as long as --shutdown-timeout: raise both together.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tusserver"]
