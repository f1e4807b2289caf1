"""What the exports of embedders and rerankers have in common."""

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from export_models.conversion.converter import Converter, carry_files
from export_models.export_run import Export
from export_models.quantization.weight_formats import weight_flags
from export_models.source import Source
from export_models.staging import Staging
from export_models.verification.verify_encoder import EncoderVerifier
from server.errors import ExportError
from server.host.model_files import MODEL_FILE, TOKENIZER_FILE

__all__ = ["TextEncoderExport"]

HALF_PRECISION = Path(__file__).parent / "quantization" / "half_precision.py"
# What sentence-transformers keeps beside a model, and the server reads. Of modules with numbered
# folders, such as 1_Pooling and 2_Dense, modules.json has the names.
MODULES_FILE = "modules.json"
SENTENCE_TRANSFORMERS_FILES = (
    MODULES_FILE,
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
)
HUB_PATTERNS = ("config.json", *SENTENCE_TRANSFORMERS_FILES, "[0-9]_*/*")


class TextEncoderExport(Export):
    """A model of one file that computes something of whole texts, with its tokenizer."""

    # A module of the source whose output is not exported.
    unused_module = ""

    @abstractmethod
    def find_optimum_task(self, converter: Converter, source: Source, staging: Staging) -> str:
        """What optimum-intel is to make of the source. Raises ExportError."""

    def model_files(self, folder: Path) -> Sequence[str]:
        return (MODEL_FILE, TOKENIZER_FILE)

    def tokenizer_flags(self, optimum_task: str) -> Sequence[str]:
        """Flags for the conversion of the tokenizer; see export_models/tokenizer/conversion.py."""
        return ("--whole-texts",)

    def convert(self, converter: Converter, source: Source, staging: Staging) -> None:
        self.report(f"converting {source.text} to OpenVINO, {self.weight_format} weights")
        flags = [*weight_flags(self.weight_format), *converter.extra_params]
        flags += ["--disable-convert-tokenizer"]
        task = self.find_optimum_task(converter, source, staging)
        converter.convert_model(source, staging, task, flags, unused=self.unused_module)
        model = staging.model_folder
        if self.weight_format == "fp16":
            converter.run([str(HALF_PRECISION), str(model)], source, staging)
        converter.convert_tokenizer(source, staging, self.tokenizer_flags(task))
        folder = converter.fetch(source, staging, HUB_PATTERNS)
        carry_files(folder, model, (*SENTENCE_TRANSFORMERS_FILES, *_module_folders(folder)))

    def verify(self, folder: Path, source: Source) -> None:
        verifier = EncoderVerifier(self.progress, self.options.trust_remote_code)
        verifier.verify(folder, source, self.task.name)


def _module_folders(folder: Path) -> Sequence[str]:
    """The folders of the modules after the first one, which is the model itself."""
    try:
        modules = json.loads((folder / MODULES_FILE).read_text(encoding="utf-8"))
        paths = [module["path"] for module in modules]
    except FileNotFoundError:
        # Older models have the folder alone.
        return ["1_Pooling"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ExportError(f"{folder / MODULES_FILE}: does not list modules: {error!r}") from error
    if paths and paths[0]:
        raise ExportError(
            f"{folder / MODULES_FILE}: the model is in the folder {paths[0]!r}; give that folder "
            "as the source"
        )
    return [path for path in paths if path and ".." not in Path(path).parts]
