from airflow_orchestration.hooks.airflow_versions import installed, require_airflow

require_airflow(installed())  # here, since nothing of a package is imported before its `__init__`
