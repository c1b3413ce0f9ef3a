"""Spoiled and invented data files, one after another, through the loaders and the draw of samples.

Run as a process of its own, so that a crash of a library's native code is seen as one:
`python -m tests.robustness.fuzz_loaders SECONDS SEED FOLDER` prints what came out, as JSON.
"""

import json
import random
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.loading.data import identify_data, load_rows
from tasks.priming.errors import UsageError
from tasks.priming.sampling import draw_samples
from tasks.priming.settings import DataSettings, SamplingSettings

MEMORY_BYTES = 6 * 10**9
"""Of address space: a file that claims to hold more than there is must fail, not take the machine with it."""

WORDS = (
    "{x}",
    "</s>",
    "[INST]",
    "",
    " ",
    "\x00",
    "é",
    "😀",
    "\u202e",
    "[]",
    "No Answer Present.",
    "a",
    "b c",
    "\ud83d",
)
NAMES = ("passage", "query", "answer", "passages", "answers", "wellFormedAnswers", "query_type", "passage_text",
         "is_selected", "other", "")  # fmt: skip


def invent(draw: random.Random, depth: int = 3) -> Any:
    """Return a value that JSON can say, most often one that a row may have."""
    kind = draw.randrange(10 if depth else 7)
    if kind < 3:
        return " ".join(draw.choices(WORDS, k=draw.randint(0, 6)))
    if kind < 7:
        return draw.choice([None, True, 0, 1, -1, 2**70, 1.5, float("nan"), float("inf"), "yes"])
    if kind == 7:
        return [invent(draw, depth - 1) for _ in range(draw.randint(0, 4))]
    return {draw.choice(NAMES): invent(draw, depth - 1) for _ in range(draw.randint(0, 5))}


def likely_row(draw: random.Random) -> dict[str, Any]:
    """Return a row of one of the two forms, in which one value may be anything."""
    text = " ".join(draw.choices(WORDS, k=draw.randint(0, 5)))
    if draw.random() < 0.5:
        row: dict[str, Any] = {"passage": text + " p", "query": text + " q", "answer": text + " a"}
    else:
        row = {
            "query": text + "q",
            "answers": [text],
            "wellFormedAnswers": draw.choice(["[]", [], [text], None]),
            "passages": draw.choice(
                [
                    {"passage_text": [text, "p"], "is_selected": [0, 1]},
                    [{"passage_text": text + "p", "is_selected": 1}],
                ]
            ),
        }
    if draw.random() < 0.3:
        row[draw.choice(NAMES)] = invent(draw)
    return row


def json_lines(draw: random.Random) -> bytes:
    """Return a JSON lines file of such rows."""
    rows = [likely_row(draw) if draw.random() < 0.8 else invent(draw) for _ in range(draw.randint(0, 6))]
    return "\n".join(json.dumps(row, ensure_ascii=draw.random() < 0.5) for row in rows).encode(errors="surrogatepass")


def parquet(draw: random.Random) -> bytes:
    """Return a parquet file of whatever columns, types, compression and layout."""
    count = draw.randint(0, 40)
    names = draw.sample(NAMES, draw.randint(1, 6))
    if draw.random() < 0.5:
        names = ["passage", "query", "answer", *names]
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table({name: column(draw, count) for name in names}),
        sink,
        compression=draw.choice(["none", "snappy", "zstd", "gzip"]),
        use_dictionary=draw.random() < 0.5,
        data_page_version=draw.choice(["1.0", "2.0"]),
        write_page_checksum=draw.random() < 0.5,
        row_group_size=draw.choice([1, 7, 1000]),
    )
    return bytes(sink.getvalue().to_pybytes())


def column(draw: random.Random, count: int) -> pa.Array:
    """Return a column of one of many types, some of which Python cannot hold."""
    text = pa.array([" ".join(draw.choices(WORDS[:-1], k=3)) for _ in range(count)], pa.string())
    numbers = pa.array([draw.choice([0, 1, None, -(2**62), 2**62]) for _ in range(count)], pa.int64())
    makers: list[Callable[[], pa.Array]] = [
        *[lambda: text] * 20,
        lambda: numbers,
        lambda: text.dictionary_encode(),
        lambda: text.cast(pa.binary()),
        lambda: text.cast(pa.large_string()),
        lambda: numbers.view(pa.timestamp(draw.choice(["us", "ns"]))),
        lambda: numbers.view(pa.duration("us")),
        lambda: pa.array([draw.choice([-(2**31), 0, 2**31 - 1]) for _ in range(count)], pa.int32()).view(pa.date32()),
        lambda: pa.array([[t] for t in text.to_pylist()], pa.list_(pa.string())),
        lambda: pa.array(
            [{"passage_text": [t], "is_selected": [1]} for t in text.to_pylist()],
            pa.struct([("passage_text", pa.list_(pa.string())), ("is_selected", pa.list_(pa.int32()))]),
        ),
        lambda: pa.array([[(t, 1)] for t in text.to_pylist()], pa.map_(pa.string(), pa.int8())),
        lambda: pa.nulls(count),
    ]
    return draw.choice(makers)()


def spoil(content: bytes, draw: random.Random) -> bytes:
    """Return a file with a few things wrong: bits, bytes, pieces lost, doubled or moved."""
    data = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        if not data:
            break
        place = draw.randrange(len(data))
        # A parquet file's own description stands at its end: spoiled bytes there do the most.
        if draw.random() < 0.5:
            place = max(0, len(data) - 1 - int(draw.expovariate(1 / 200)))
        length = draw.choice([1, 1, 2, 4, 50])
        kind = draw.randrange(7)
        if kind == 0:
            data[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[place : place + length] = draw.randbytes(length)
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = data[place : place + length]
        elif kind == 4:
            data[place : place + length] = draw.choice([b"\x00", b"\xff", b"\x7f"]) * length
        elif kind == 5:
            del data[place:]
        else:
            data[place:place] = b"PAR1\n"
    return bytes(data)


def outcome(path: Path) -> str:
    """Return what became of a file: its samples, or the project's own error.

    Raises:
        Exception: Any other error, which is what is looked for.
    """
    settings = DataSettings(data=str(path))
    sampling = SamplingSettings(sample_count=5, min_words=1, max_words=50)
    try:
        draw_samples(load_rows(identify_data(settings)), sampling, 42)
    except UsageError as error:
        str(error).encode()  # it can be shown
        return type(error).__name__
    return "read"


def main(seconds: float, seed: int, folder: Path) -> None:
    """Try files until the time is over; the one that broke something stays in the folder."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    counts: Counter[str] = Counter()
    problems: list[str] = []
    slowest = 0.0
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end and len(problems) < 10:
        draw = random.Random(f"{seed} {number}")
        suffix, make = draw.choice([(".parquet", parquet), (".jsonl", json_lines)])
        content = make(draw)
        if draw.random() < 0.8:
            content = spoil(content, draw)
        path = folder / f"case{suffix}"
        path.write_bytes(content)
        start = time.monotonic()
        try:
            counts[f"{suffix} {outcome(path)}"] += 1
        except BaseException:
            path.rename(folder / f"broken-{number}{suffix}")
            problems.append(f"case {number}: {traceback.format_exc()}")
        slowest = max(slowest, time.monotonic() - start)
        number += 1
    sys.stdout.write(json.dumps({"files": number, "outcomes": counts, "problems": problems, "slowest": slowest}))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
