"""The package contains a model."""

from server.models.bundled import find_bundled_model


def test_a_bundled_model_is_found_by_its_name() -> None:
    folder = find_bundled_model("tiny_chat")
    assert folder is not None
    assert (folder / "graph.pbtxt").is_file()
    assert find_bundled_model("nonesuch") is None
