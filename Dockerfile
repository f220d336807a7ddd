# The small object store of docker-compose.yaml.
FROM python:3.12-slim AS s3
COPY constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt nanio
# A volume takes its owner from the folder that it is mounted on.
RUN useradd s3 && install --directory --owner=s3 /data
USER s3

FROM apache/airflow:3.3.2

# A fresh environment: the providers in the image's own one need other releases than those tested with this one.
ENV VIRTUAL_ENV=/home/airflow/orchestration
ENV PATH=$VIRTUAL_ENV/bin:$PATH

COPY . /tmp/orchestration
RUN python -m venv "$VIRTUAL_ENV" \
 && pip install --no-cache-dir --constraint /tmp/orchestration/constraints.txt '/tmp/orchestration[celery,s3]'
