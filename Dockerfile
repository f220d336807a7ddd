FROM apache/airflow:3.3.2

# A fresh environment: the providers in the image's own one need other releases than those tested with this one.
ENV VIRTUAL_ENV=/home/airflow/orchestration
ENV PATH=$VIRTUAL_ENV/bin:$PATH

COPY . /tmp/orchestration
RUN python -m venv "$VIRTUAL_ENV" \
 && pip install --no-cache-dir --constraint /tmp/orchestration/constraints.txt /tmp/orchestration

# A volume takes its owner from the folder that it is mounted on.
RUN mkdir -p /opt/airflow/.orchestration/staging
