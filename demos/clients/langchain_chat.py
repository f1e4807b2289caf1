"""LangChain against a running server: whole answers, streams, batches, asyncio.

pip install langchain-openai
python demos/clients/langchain_chat.py --url http://127.0.0.1:8000 --model tiny_chat
"""

import argparse
import asyncio

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI

QUESTION = "What is the capital of France?"


def ask(chat: ChatOpenAI) -> None:
    """Show the ways to get an answer; each prints one line."""
    print("invoke:", chat.invoke(QUESTION).content)
    print("stream:", "".join(str(chunk.content) for chunk in chat.stream(QUESTION)))
    history = [
        SystemMessage("Answer briefly."),
        HumanMessage(QUESTION),
        AIMessage("The capital of France is Paris."),
        HumanMessage("And of Spain?"),
    ]
    answer = chat.invoke(history)
    usage = answer.usage_metadata
    assert usage is not None
    print("history:", answer.content, usage["input_tokens"], "+", usage["output_tokens"], "tokens")
    answers = chat.batch([f"What is {i} + {i}?" for i in range(1, 9)])
    print("batch:", " ".join(str(answer.content) for answer in answers))
    print("async:", asyncio.run(_ask_async(chat)))


async def _ask_async(chat: ChatOpenAI) -> str:
    return "".join([str(chunk.content) async for chunk in chat.astream(QUESTION)])


def main() -> None:
    """Ask the chat endpoint, then the completions endpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", default="tiny_chat")
    args = parser.parse_args()
    where = {"base_url": f"{args.url}/v3", "api_key": "unused", "model": args.model}
    ask(ChatOpenAI(**where, temperature=0, stream_usage=True))
    completion = OpenAI(**where, temperature=0, max_tokens=16)
    print("completion:", repr(completion.invoke("The capital of France is")))


if __name__ == "__main__":
    main()
