# Two stages: the first installs, the second holds nothing but Python and what was installed. It runs as a user without
# a name, needs no shell, and writes to /data only, so that the root file system can be read-only.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/penia && mkdir /data
COPY pyproject.toml README.md LICENSE ./
COPY pricing ./pricing
COPY penia_proxy ./penia_proxy
RUN /opt/penia/bin/pip install --no-cache-dir .

FROM python:3.13-slim
COPY --from=build /opt/penia /opt/penia
COPY --from=build --chown=10001:10001 /data /data
COPY config.yaml /etc/penia/config.yaml
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8113

# A container's loopback cannot be reached from outside it. Listening on every address without keys is refused until
# somebody says that it is meant: PENIA_SERVER__ALLOW_OPEN=true, as docker-compose.yml does for a port it publishes on
# the host's loopback only.
ENV PENIA_SERVER__HOST=0.0.0.0 \
    PENIA_LEDGER__URL=sqlite:////data/penia.db

# -I: nothing from the environment or the working directory is imported. -B: no bytecode is written. -u: no buffered log.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["/opt/penia/bin/python", "-I", "-B", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8113/health', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/penia/bin/python", "-I", "-B", "-u", "-m", "penia_proxy"]
CMD ["serve", "-c", "/etc/penia/config.yaml"]
