"""A Python script that changes how passages are found: a new index, scaled vectors, another distance, more passages."""

from __future__ import annotations

from wfgy_triage.remedies.facts import Facts
from wfgy_triage.remedies.patch import Share
from wfgy_triage.remedies.renders.header import header

_INDEPENDENT = "sentence-transformers/all-MiniLM-L6-v2"

_EMBED = '''
def embed(texts):
    """Vectors of texts, one a row. Index and questions have to come from this one model."""
    from sentence_transformers import SentenceTransformer

    return np.asarray(SentenceTransformer(EMBEDDER).encode(texts), dtype="float32")


def read_passages(path):
    """One passage a line."""
    with open(path, encoding="utf-8") as lines:
        return [line.strip() for line in lines if line.strip()]
'''

_NEW_INDEX = '''
def new_index(vectors):
    """An index whose distance is set explicitly."""
    vectors = np.ascontiguousarray(vectors, dtype="float32")
    if UNIT_LENGTH:
        faiss.normalize_L2(vectors)
    index = faiss.index_factory(vectors.shape[1], "Flat", METRIC)
    index.add(vectors)
    return index
'''

_SEARCH = '''
def search(index, question_vectors):
    """Numbers of the K nearest passages of each question, best first."""
    questions = np.ascontiguousarray(question_vectors, dtype="float32")
    if UNIT_LENGTH:
        faiss.normalize_L2(questions)
    return index.search(questions, K)[1]
'''

_MAIN_EMBED = """
if __name__ == "__main__":
    passages_file, index_file, question = sys.argv[1:4]
    passages = read_passages(passages_file)
    index = new_index(embed(passages))
    faiss.write_index(index, index_file)
    for number in search(index, embed([question]))[0]:
        if number >= 0:
            print(passages[number])
"""

_MAIN_VECTORS = """
if __name__ == "__main__":
    old_file, new_file = sys.argv[1:3]
    old = faiss.read_index(old_file)
    index = new_index(old.reconstruct_n(0, old.ntotal))
    faiss.write_index(index, new_file)
"""

_MAIN_SEARCH = """
if __name__ == "__main__":
    index_file, questions_file = sys.argv[1:3]
    index = faiss.read_index(index_file)
    for numbers in search(index, np.load(questions_file)):
        print(*(number for number in numbers if number >= 0))
"""


def script(share: Share, facts: Facts) -> str:
    """The script for what the patch changes.

    `rebuild` and `independent` embed the passages; `normalise` and a metric make a new index of the stored vectors;
    k alone changes the search.
    """
    named = share.named()
    how, metric, k = named.get("index"), named.get("metric"), named.get("k", 5)
    unit = how == "normalise" or metric == "cosine" or (metric is None and how is not None)
    constants = [f"K = {k!r}  # passages for a question", f"UNIT_LENGTH = {unit!r}"]
    embeds = how in ("rebuild", "independent")
    if embeds or how or metric:
        distance = "METRIC_L2" if metric == "l2" else "METRIC_INNER_PRODUCT"
        constants.append(f"METRIC = faiss.{distance}")
    if embeds:
        constants.append(_embedder(how == "independent"))
        usage = "passages.txt new.index 'a question'" + ("" if how == "independent" else " MODEL")
        body, main = _EMBED + "\n" + _NEW_INDEX + "\n" + _SEARCH, _MAIN_EMBED
    elif how or metric:
        usage, body, main = "old.index new.index", _NEW_INDEX + "\n" + _SEARCH, _MAIN_VECTORS
    else:
        usage, body, main = "your.index question_vectors.npy", _SEARCH, _MAIN_SEARCH
    imports = "import sys\n\nimport faiss\nimport numpy as np\n"
    notes = [f"Usage: python {share.target.file} {usage}", *_notes(bool(embeds), unit)]
    return header(share, notes) + "\n" + "\n".join([imports, *constants, "", body]) + "\n" + main


def _embedder(independent: bool) -> str:
    if independent:
        return f"EMBEDDER = {_INDEPENDENT!r}  # a model that quantization cannot touch"
    return "EMBEDDER = sys.argv[4]  # folder or name of the model that embeds your questions"


def _notes(embeds: bool, unit: bool) -> list[str]:
    notes = [] if embeds else ["Question vectors have to come from the model that made the index."]
    if unit:
        notes.append("Vectors have length one on both sides, so that the inner product is the cosine.")
    return notes
