"""OpenVINO Model Server's way to another model of the same server."""

from dataclasses import dataclass
from typing import ClassVar

from calculators.inference.model_session import ModelSession
from calculators.inference.session_inference import SESSION
from server.graph import Calculator, Contract, OpenContext, Servables

__all__ = ["OpenVINOModelServerSessionCalculator", "OpenVINOModelServerSessionCalculatorOptions"]


@dataclass(frozen=True)
class OpenVINOModelServerSessionCalculatorOptions:
    """The name and version of a model; without a version, the highest that is ready."""

    PROTO_NAME: ClassVar[str] = "mediapipe.OpenVINOModelServerSessionCalculatorOptions"

    servable_name: str
    servable_version: str = ""
    server_config: str = ""
    service_url: str = ""

    def __post_init__(self) -> None:
        if self.service_url:
            raise ValueError("service_url is not supported; the model must be in the same server")
        if self.server_config:
            raise ValueError("server_config is not supported; list the model in config.json")


class OpenVINOModelServerSessionCalculator(Calculator[OpenVINOModelServerSessionCalculatorOptions]):
    """Gives an OpenVINOInferenceCalculator a model of the same server."""

    contract = Contract(output_side_packets=(SESSION,))

    def open(self, cc: OpenContext) -> None:
        """Make the session. The model is looked for with each request, so it may load later."""
        options = self.options
        version = options.servable_version if options.servable_version != "0" else ""
        session = ModelSession(cc.service(Servables), options.servable_name, version or None)
        cc.set_side_packet(SESSION, session)

    async def process(self, cc: object) -> None:
        """Nothing: the session is made at load."""
