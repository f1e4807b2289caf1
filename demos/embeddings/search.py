"""Find the texts that are nearest in meaning to a question.

    python demos/embeddings/search.py "Which animal sees a bear?" texts.txt

Each line of the file is a text. The server's address and the model's name are the options --url and
--model.
"""

import argparse
from pathlib import Path

import numpy as np
from openai import OpenAI


def search(client: OpenAI, model: str, question: str, texts: list[str]) -> list[tuple[float, str]]:
    """The texts with their cosine, the nearest first."""
    vectors = [item.embedding for item in client.embeddings.create(model=model, input=texts).data]
    # The model's prompt for questions, if it has one.
    answer = client.embeddings.create(
        model=model, input=question, extra_body={"input_type": "search_query"}
    )
    cosines = np.array(vectors) @ np.array(answer.data[0].embedding)
    return sorted(zip(cosines.tolist(), texts, strict=True), reverse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question")
    parser.add_argument("file", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model", default="embedder")
    arguments = parser.parse_args()
    client = OpenAI(base_url=arguments.url, api_key="unused")
    texts = [line for line in arguments.file.read_text("utf-8").splitlines() if line.strip()]
    for cosine, text in search(client, arguments.model, arguments.question, texts):
        print(f"{cosine:.3f}  {text}")


if __name__ == "__main__":
    main()
