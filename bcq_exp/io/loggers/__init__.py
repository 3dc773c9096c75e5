"""One file, one kind of logger: its schema and its sink. The registry is all that the rest of the program knows."""

from bcq_exp.io.loggers.csv import CSVLoggerConfig
from bcq_exp.io.loggers.form import LoggerConfig
from bcq_exp.io.loggers.tensorboard import TensorBoardLoggerConfig
from bcq_exp.io.loggers.wandb import WandbLoggerConfig

LOGGERS: dict[str, type[LoggerConfig]] = {
    "csv": CSVLoggerConfig,
    "tensorboard": TensorBoardLoggerConfig,
    "wandb": WandbLoggerConfig,
}
