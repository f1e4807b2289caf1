"""A conversation in SGLang's front-end language that forks: its branches share what they have read.

    python demos/clients/sglang_forks.py --url http://127.0.0.1:8000

It prints, for each of some countries, the answers of a conversation and of its two branches.
"""

import argparse

import sglang as sgl

COUNTRIES = ("France", "Peru", "Italy")
QUESTIONS = ("Tell me a story about a fox.", "What is 27 + 15?")


@sgl.function
def conversation(s: sgl.lang.interpreter.ProgramState, country: str) -> None:
    """Ask for a capital, then ask two more questions at once, each as if the other were not."""
    s += sgl.system("You answer shortly.")
    s += sgl.user(f"What is the capital of {country}?")
    s += sgl.assistant(sgl.gen("capital", max_tokens=32, temperature=0))
    branches = s.fork(len(QUESTIONS))
    for branch, question in zip(branches, QUESTIONS, strict=True):
        branch += sgl.user(question)  # noqa: PLW2901  # SGLang appends in place
        branch += sgl.assistant(sgl.gen("answer", 32, temperature=0))  # noqa: PLW2901
    answers = [branch["answer"] for branch in branches]
    s += sgl.user("Thank you.")
    s += sgl.assistant(sgl.gen("end", max_tokens=16, temperature=0))
    print(country, answers)


def main() -> None:
    """Run the conversations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", default="tiny_chat")
    args = parser.parse_args()
    backend = sgl.OpenAI(args.model, is_chat_model=True, base_url=f"{args.url}/v1", api_key="none")
    sgl.set_default_backend(backend)
    for state in conversation.run_batch([{"country": name} for name in COUNTRIES], num_threads=3):
        print(state["capital"], state["end"])


if __name__ == "__main__":
    main()
