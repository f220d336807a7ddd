import airflow_orchestration.hooks  # noqa: F401  # refuses an Airflow that is too old
