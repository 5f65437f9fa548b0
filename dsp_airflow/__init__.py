"""Copy, archive, prove and purge database tables with Apache Airflow."""
