"""Every setting of every process, from the environment (`GRIDWATCH_…`) alone."""

from functools import cached_property
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_SHIPPED_DISTRICT = Path(__file__).resolve().parent.parent / "schemas" / "district"


class Settings(BaseSettings):
    """Where things are. Defaults are those of the embedded stack on one machine."""

    model_config = SettingsConfigDict(env_prefix="GRIDWATCH_", frozen=True, extra="ignore")

    data_dir: Path = Field(default=Path("data"), description="Everything the embedded stack keeps between runs.")
    jars_dir: Path = Field(default=Path("data/jars"), description="Kafka's jars, fetched once.")
    district_dir: Path = Field(default=_SHIPPED_DISTRICT, description="Grids, roster, items, policy, cameras.")

    kafka: str = Field(default="127.0.0.1:19092", description="Kafka bootstrap servers.")
    partitions: int = Field(default=4, ge=1, description="Partitions of every topic, fixed for life.")
    kafka_limit_mib: int = Field(default=8192, ge=1, description="What the embedded broker may keep; doctor compares.")
    replication: int = Field(default=1, ge=1, description="Replicas of every topic.")

    clickhouse_host: str = "127.0.0.1"
    clickhouse_port: int = 18123
    clickhouse_database: str = "lake"
    clickhouse_user: str = Field(default="gridwatch", description="Writes tables and runs migrations.")
    clickhouse_password: SecretStr = SecretStr("gridwatch")
    analyst_user: str = Field(default="analyst", description="Reads views only, with limits.")
    analyst_password: SecretStr = SecretStr("analyst")

    host: str = Field(default="127.0.0.1", description="What the HTTP processes bind; loopback unless told otherwise.")
    intake_port: int = 8601
    spool_reports: int = Field(default=200_000, ge=1, description="Reports on disk that Kafka lacks; more get 503.")
    spool_mib: int = Field(default=512, ge=1, description="The same in size.")
    spool_free_mib: int = Field(default=1024, ge=0, description="What the spool leaves free of its disk.")
    reports_per_min: int = Field(default=60, ge=1, description="Reports one address may send; more get 429.")
    key_reports_per_min: int = Field(default=600, ge=1, description="Reports under one api_key; more get 429.")
    api_keys: SecretStr = Field(default=SecretStr(""), description="Open311 sites that may send updates, by commas.")
    gateways: str = Field(default="127.0.0.1", description="Addresses, by commas, that send for many: no such limit.")
    wecom_urgent: str = Field(default="", description="WeCom's urge_type numbers that mean urgent here, by commas.")
    follow_secret: SecretStr = Field(default=SecretStr(""), description="Makes follow codes; a kept file if empty.")
    photo_store: str = Field(default="", description="Where photos go, as a URL (s3://…); a local directory if empty.")
    dashboard_port: int = 8600
    rtsp_port: int = Field(default=8554, description="The simulator's RTSP server.")
    camera_backoff_s: float = Field(default=60.0, description="Longest wait before a lost camera is tried again.")
    camera_user: str = Field(default="viewer", description="Log-in of the cameras; in production from a secret store.")
    camera_password: SecretStr = SecretStr("simulated")

    worker_id: str = Field(default="worker-1", description="Static membership in the consumer group: one per worker.")
    session_timeout_s: float = Field(default=10.0, description="Consumer group session timeout.")

    @cached_property
    def clickhouse_url(self) -> str:
        """Return the warehouse's HTTP address, without credentials."""
        return f"http://{self.clickhouse_host}:{self.clickhouse_port}"

    @cached_property
    def intake_url(self) -> str:
        """Return the intake's HTTP address."""
        return f"http://{self.host}:{self.intake_port}"
