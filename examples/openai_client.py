"""Prints a completion of `mercury-lsp serve`, by OpenAI's Python client (`pip install openai`).

python openai_client.py [ADDRESS]        # by default http://127.0.0.1:2088

MERCURY_TOKEN holds your token where the server wants one.
"""

from __future__ import annotations

import os
import sys

from openai import OpenAI


def completion(address: str) -> str:
    """The text between a prompt and its suffix."""
    client = OpenAI(base_url=f"{address}/v1", api_key=os.environ.get("MERCURY_TOKEN", "none"))
    model = client.models.list().data[0].id
    answer = client.completions.create(
        model=model,
        prompt="def area(width, height):\n    return ",
        suffix="\n",
        max_tokens=32,
        temperature=0,
    )
    return answer.choices[0].text


if __name__ == "__main__":
    print(completion(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:2088"))
