# Airflow with dsp-airflow, both from requirements.lock.
ARG PYTHON_VERSION=3.12
ARG NODE_VERSION=22

FROM node:${NODE_VERSION}-bookworm-slim AS pages
WORKDIR /build/dsp_airflow/web/ui
COPY dsp_airflow/web/ui/package.json dsp_airflow/web/ui/package-lock.json dsp_airflow/web/ui/.npmrc ./
RUN npm ci
COPY dsp_airflow/web/ui ./
RUN npm run build

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc pkg-config default-libmysqlclient-dev
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /srv/venv \
    && /srv/venv/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY pyproject.toml LICENSE ./
COPY scripts/build_hook.py scripts/
COPY dsp_airflow dsp_airflow
COPY --from=pages /build/dsp_airflow/web/static dsp_airflow/web/static
RUN /srv/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:${PYTHON_VERSION}-slim-bookworm
# What mysqlclient links to, and an init that reaps and forwards signals.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libmariadb3 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50000 --home-dir /srv/airflow --create-home airflow \
    && install --directory --owner airflow /srv/airflow/logs /srv/airflow/auth
COPY --from=build /srv/venv /srv/venv
ENV PATH=/srv/venv/bin:$PATH \
    AIRFLOW_HOME=/srv/airflow \
    PYTHONUNBUFFERED=1
USER airflow
WORKDIR /srv/airflow
ENTRYPOINT ["tini", "--"]
CMD ["airflow", "version"]
