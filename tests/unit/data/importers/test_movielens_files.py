"""MovieLens as GroupLens publishes it: three generations of files."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from tests.unit.data.importers.conftest import Put, Run

FLAGS_DRAMA_WAR = "|".join("1" if place in (8, 17) else "0" for place in range(19))
SOURCES: dict[str, dict[str, str | bytes]] = {
    "100k": {
        "ml-100k/u.data": "1\t2\t5\t881250949\n1\t3\t4\t881250950\n2\t3\t1\t881250951\n",
        "ml-100k/u.item": (
            f"2|Postino, Il (1994)|01-Jan-1994||http://x|{FLAGS_DRAMA_WAR}\n"
            f"3|Cit\xe9 des enfants perdus, La (1995)|01-Jan-1995||http://x|{FLAGS_DRAMA_WAR}\n"
        ).encode("latin-1"),
        "ml-100k/u.genre": "unknown|0\nAction|1\n",
        "ml-100k/README": "SUMMARY\n=======\n\nThese files contain ratings.\n",
    },
    "1m": {
        "ratings.dat": "1::2::5::978300760\n1::3::4::978300761\n2::3::1::978300762\n",
        "movies.dat": "2::Postino, Il (1994)::Drama|War\n3::Cité des enfants perdus, La (1995)::Drama|War\n",
        "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
    },
    "latest": {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,2,5.0,1147880044\n1,3,4.0,1147880045\n2,3,1.0,1147880046\n",
        "movies.csv": 'movieId,title,genres\n2,"Postino, Il (1994)",Drama|War\n'
        '3,"Cité des enfants perdus, La (1995)",Drama|War\n',
        "tags.csv": "userId,movieId,tag,timestamp\n1,2,slow,1445714994\n",
    },
}


@pytest.mark.parametrize("files", SOURCES.values(), ids=SOURCES)
def test_ratings_and_movies_of_every_generation(run: Run, put: Put, files: dict[str, str | bytes]) -> None:
    found = run(put(files), split="leave-one-out")
    assert found.imported.format == "movielens"
    assert found.items == [
        {"item_id": "2", "title": "Il Postino (1994)", "year": 1994, "genres": ["Drama", "War"]},
        {"item_id": "3", "title": "La Cité des enfants perdus (1995)", "year": 1995, "genres": ["Drama", "War"]},
    ]
    assert [(s["id"], s["history"], s["target"], s["ratings"], s["split"]) for s in found.samples] == [
        ("1-1", ["2"], "3", [5.0], "test")
    ]


def test_the_published_zip_is_read_as_it_is(run: Run, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in SOURCES["100k"].items():
            archive.writestr(name, content)
    (tmp_path / "ml-100k.zip").write_bytes(packed.getvalue())
    found = run(tmp_path / "ml-100k.zip", min_rating=4)
    assert found.imported.dropped["interaction rated below 4"] == 1
    assert len(found.samples) == 1
