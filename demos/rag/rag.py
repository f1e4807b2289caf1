"""Answers questions from documents: LangChain with three models of one server.

For each question: the chat model calls a tool, the tool looks for documents in a vector store,
a reranker orders what was found, and the chat model answers with the best document.

    server --config_path demos/rag/config.json --rest_port 8000
    pip install langchain-openai langchain-cohere
    python demos/rag/rag.py --url http://127.0.0.1:8000
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from langchain_cohere import CohereRerank
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

DOCUMENTS = Path(__file__).with_name("documents.txt")
QUESTIONS = (
    "What is the weather in Brolund?",
    "How warm is it in Cairo?",
    "What time is it in Brolund?",
    "How late is it in Drumholt?",
)
NUM_FOUND = 6


@tool
def get_weather(city: str) -> None:
    """Get the weather of a city."""


@tool
def get_time(city: str) -> None:
    """Get the time in a city."""


@dataclass
class Answer:
    """The documents that were found, the best of them, and the answer made of it."""

    found: Sequence[str]
    best: str
    text: str


class Assistant:
    """The three models of a server, and the documents."""

    def __init__(self, url: str, documents: Sequence[str]) -> None:
        openai = {"base_url": f"{url}/v3", "api_key": "unused"}
        # The client would look for OpenAI's tokenizer on the network.
        embeddings = OpenAIEmbeddings(
            **openai, model="tiny_embedder", check_embedding_ctx_length=False
        )
        self._store = InMemoryVectorStore(embeddings)
        self._store.add_texts(documents)
        self._reranker = CohereRerank(
            base_url=url, cohere_api_key="unused", model="tiny_reranker", top_n=1
        )
        chat = ChatOpenAI(**openai, model="tiny_chat", temperature=0)
        # Each question is looked up: the model may only choose how.
        self._caller = chat.bind_tools([get_weather, get_time], tool_choice="required")
        self._chat = chat.bind_tools([get_weather, get_time])

    def search(self, question: str) -> tuple[list[Document], Document]:
        """The documents near the question, and the one that answers it best."""
        found = self._store.similarity_search(question, k=NUM_FOUND)
        return found, self._reranker.compress_documents(found, question)[0]

    def answer(self, question: str) -> Answer:
        """Answer a question about the weather or the time of a city."""
        call = self._caller.invoke([HumanMessage(question)])
        found, best = self.search(question)
        replies = [ToolMessage(best.page_content, tool_call_id=c["id"]) for c in call.tool_calls]
        answer = self._chat.invoke([HumanMessage(question), call, *replies])
        return Answer([d.page_content for d in found], best.page_content, str(answer.content))


def main() -> None:
    """Answer the questions of the command line, or those above."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("questions", nargs="*", default=QUESTIONS)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--documents", type=Path, default=DOCUMENTS, help="one in each line")
    args = parser.parse_args()
    assistant = Assistant(args.url, args.documents.read_text(encoding="utf-8").splitlines())
    for question in args.questions:
        answer = assistant.answer(question)
        print(f"question:  {question}")
        print(f"found:     {' | '.join(answer.found)}")
        print(f"best:      {answer.best}")
        print(f"answer:    {answer.text}\n")


if __name__ == "__main__":
    main()
