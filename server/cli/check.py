"""`server --check`: check a configuration and read the models, without compiling them."""

from server.models.classic_model import find_versions
from server.models.config import ServerConfig
from server.models.loading.model_loading import find_problem

__all__ = ["check_models"]


def check_models(config: ServerConfig) -> int:
    """Print what is wrong with each model; returns the exit status."""
    models = find_versions(config).models
    problems = [find_problem(model) for model in models]
    num_bad = len([problem for problem in problems if problem is not None])
    for model, problem in zip(models, problems, strict=True):
        print(f"{model.label}: {problem or 'ok'}")
    print(f"{len(problems)} model(s), {num_bad} with problems")
    return 1 if num_bad else 0
