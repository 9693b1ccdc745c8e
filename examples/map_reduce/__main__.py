"""Count words in several texts side by side: `python -m examples.map_reduce`."""

import sys

from examples.map_reduce import builder

TEXTS = ["the cat sat on the mat", "the dog saw the cat", "a mat is a mat"]


def main() -> None:
    """Stream what each step finds, then show the total."""
    say = sys.stdout.write
    graph = builder.compile()
    for mode, data in graph.stream({"texts": TEXTS}, stream_mode=["updates", "values"]):
        if mode == "updates" and "count" in data:
            say(f"One text: {data['count']['counts'][0]}\n")
    total = data["total"]
    best = sorted(total, key=lambda word: (-total[word], word))[:3]
    say(f"In all of them: {', '.join(f'{word} {total[word]}' for word in best)}\n")


if __name__ == "__main__":
    main()
