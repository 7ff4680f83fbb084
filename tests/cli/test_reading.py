"""Files as people have them, from the command line: they work, or one line says which option to add."""

import gzip
import json

import numpy as np
import pandas
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from command import FAST, assert_one_line
from sklearn.datasets import dump_svmlight_file

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3)).round(2)
y = np.array(["cat", "dog", "emu"])[RNG.integers(3, size=60)]
FRAME = pandas.DataFrame(X, columns=["a", "b", "c"]).assign(kind=y)


def spark(path):
    path.mkdir()
    (path / "_SUCCESS").touch()
    for part in range(3):
        rows = FRAME.iloc[20 * part : 20 * part + 20]
        pyarrow.parquet.write_table(pyarrow.Table.from_pandas(rows), path / f"part-0000{part}.snappy.parquet")


def r_csv(path):
    lines = [f'"{i + 1}",{a},{b},{c},"{kind}"' for i, (a, b, c, kind) in enumerate(FRAME.itertuples(index=False))]
    path.write_text("\n".join(['"","a","b","c","kind"', *lines]) + "\n")


def excel(path):
    text = FRAME.to_csv(index=False, sep=";", decimal=",", lineterminator="\r\n")
    path.write_bytes(text.encode("utf-8-sig"))


def svmlight(path):
    plain = path.with_suffix("")
    dump_svmlight_file(X, np.unique(y, return_inverse=True)[1], str(plain), zero_based=False)
    path.write_bytes(gzip.compress(plain.read_bytes()))


HAVE = {  # name of the file: how it is made, what the notes say
    "pandas.csv": (FRAME.to_csv, ["left out"]),
    "shuffled.csv": (FRAME.sample(frac=1, random_state=0).to_csv, ["left out"]),
    "r.csv": (r_csv, ["left out"]),
    "excel.csv": (excel, ["semicolons (--sep", "comma, as in", "--decimal"]),
    "spark": (spark, []),
    "kinds.data": (lambda path: FRAME.to_csv(path, index=False, header=False), ["line 1", "--header"]),
    "words.svmlight.gz": (svmlight, ["features count from 1"]),
    "indexed.parquet": (FRAME.rename_axis("id").to_parquet, []),
    "tabs.tsv.bz2": (lambda path: FRAME.to_csv(path, sep="\t", index=False), []),
}


@pytest.mark.parametrize("name", HAVE)
def test_what_people_have_is_trained_on_and_predicted(run, tmp_path, name):
    make, words = HAVE[name]
    make(tmp_path / name)
    model, out = tmp_path / "m.npz", tmp_path / "p.csv"
    code, shown, err = run("train", tmp_path / name, "--json", "--out", model, *FAST)
    assert code == 0, err
    report = json.loads(shown)
    assert report["features"] == 3 and len(report["classes"]) == 3 and sum(report["rows"].values()) == 60
    assert not [word for word in words if word not in " ".join(report["notes"])], report["notes"]
    code, shown, err = run("train", tmp_path / name, *FAST)
    assert code == 0 and [line for line in shown.splitlines() if line.startswith("note: ")] == [
        f"note: {note}" for note in report["notes"]
    ]
    code, shown, err = run("predict", model, tmp_path / name, "--out", out, "--backend", "numpy")
    assert code == 0 and shown.endswith(f"60 predictions written to {out}\n"), err


def test_options_say_how_to_read(run, tmp_path):
    path, model = tmp_path / "table", tmp_path / "m.npz"
    rows = [f"{i};'{a}';1.234,5;{'' if i == 7 else a};{b};{k}" for i, (a, b, _, k) in enumerate(FRAME.values)]
    rows = [row.replace(".", ",").replace("1,234,5", "1.234,5").replace("cat", "ätz") for row in rows]
    path.write_bytes("\n".join(["id;text;big;gap;b;kind", *rows]).encode("latin-1"))
    options = [
        "--format",
        "csv",
        "--sep",
        ";",
        "--decimal",
        ",",
        "--thousands",
        ".",
        "--encoding",
        "latin-1",
        "--header",
    ]
    options += ["--ignore", "text", "--ignore", "id", "--fill", "0"]
    code, shown, err = run("train", path, "--json", "--out", model, *options, *FAST)
    assert code == 0, err
    report = json.loads(shown)
    assert report["features"] == 3 and report["classes"] == ["dog", "emu", "ätz"]
    assert report["notes"] == ["1 missing cell read as 0"]
    code, shown, err = run("predict", model, path, "--out", tmp_path / "p.csv", *options)
    assert code == 0 and shown.splitlines()[0] == "note: 1 missing cell read as 0", err
    assert pyarrow.csv.read_csv(tmp_path / "p.csv").num_rows == 60


def test_no_header_numbers_the_columns(run, tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("1,2,0\n3,4,1\n" * 20)
    report = json.loads(run("train", path, "--no-header", "--json", *FAST)[1])
    assert report["target"] == "2" and report["features"] == 2


def test_an_open_quote_ends_train_and_predict_with_its_place(run, tmp_path):
    good, bad, model = tmp_path / "good.csv", tmp_path / "bad.csv", tmp_path / "m.npz"
    rows = [f"{i % 7},note {i},{'uv'[i % 2]}" for i in range(100)]
    good.write_text("\n".join(["x,note,y", *rows]))
    rows[58] = '2,"5 inch,u'
    bad.write_text("\n".join(["x,note,y", *rows]))
    assert run("train", good, "--ignore", "note", "--out", model, *FAST)[0] == 0
    where = ["bad.csv, line 60, column 'note'", "quote"]
    assert_one_line(run("predict", model, bad, "--out", tmp_path / "p.csv"), *where)
    assert_one_line(run("train", bad, "--ignore", "note", *FAST), *where)
    assert not (tmp_path / "p.csv").exists()


def test_what_does_not_fit_is_one_line_with_the_option(run, tmp_path):
    path = tmp_path / "d.csv"
    for text, words in {
        "a,t,y\n1,x,u\n2,z,v\n": ["line 2", "'t'", "--ignore"],
        "a,b,y\n1,,u\n2,3,v\n": ["line 2", "'b'", "--fill", "--ignore"],
        "1,2\n3,4\n": ["line 1", "--header or --no-header"],
        "a,a,y\n1,2,u\n2,3,v\n": ["'a'", "--ignore"],
    }.items():
        path.write_text(text)
        assert_one_line(run("train", path), "d.csv", *words)
    path.write_bytes("a,y\n1,ä\n2,b\n".encode("latin-1"))
    assert_one_line(run("train", path), "line 2", "--encoding")
    assert_one_line(run("train", tmp_path), tmp_path.name)
    assert_one_line(run("train", "--sep", ";"), "no DATA")
    np.savez(tmp_path / "d.npz", X=X, y=y)
    assert_one_line(run("train", tmp_path / "d.npz", "--sep", ";"), "sep has no meaning", "csv")
    assert_one_line(run("train", path, "--format", "xls"), "--format", "csv")


def test_features_beyond_the_models_are_left_out_when_asked(run, tmp_path):
    narrow, wide, model, out = (tmp_path / name for name in ("n.svm", "w.svm", "m.npz", "p.npy"))
    narrow.write_text("0 1:1 2:3\n1 1:2 2:1\n" * 20)
    wide.write_text("0 1:1 2:3 9:1\n1 1:2 2:1\n")
    assert run("train", narrow, "--out", model, *FAST)[0] == 0
    assert_one_line(run("predict", model, wide, "--out", out), "feature 9", "--extra-features ignore")
    assert run("predict", model, wide, "--out", out, "--extra-features", "ignore")[0] == 0
    assert len(np.load(out)) == 2
