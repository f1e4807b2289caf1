"""Let one model speak a text, and another one write down what it hears."""

import argparse
from pathlib import Path

from openai import OpenAI


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base_url", default="http://127.0.0.1:8000/v3")
    parser.add_argument("--text", default="The quick brown fox jumps over the lazy dog.")
    parser.add_argument("--voice", default="default")
    parser.add_argument("--file", type=Path, default=Path("speech.wav"))
    values = parser.parse_args()
    client = OpenAI(base_url=values.base_url, api_key="unused")

    speech = client.audio.speech.create(
        model="voice", input=values.text, voice=values.voice, response_format="wav"
    )
    values.file.write_bytes(speech.content)
    print(f"wrote {values.file}")

    with values.file.open("rb") as file:
        transcript = client.audio.transcriptions.create(
            model="whisper", file=file, response_format="verbose_json"
        )
    print(f"{transcript.duration:.1f} s of {transcript.language}: {transcript.text}")
    for segment in transcript.segments or ():
        print(f"{segment.start:6.2f} s to {segment.end:6.2f} s: {segment.text}")


if __name__ == "__main__":
    main()
