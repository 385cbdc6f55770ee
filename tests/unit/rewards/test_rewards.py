"""Named rewards: what the built-in ones pay for, and how a package brings its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from minirec.api_schemas import TextReward
from minirec.rewards import RewardError, Scorer, UnknownRewardError, known_rewards, load_reward, needs_answer
from minirec.rewards.answers import answer_of, plain_number, ranking_of
from minirec.rewards.text import normalised

LN3 = 1.584962500721156


def earned(name: str, completion: str, answer: str | list[str]) -> float:
    return load_reward(name)(completion, answer, {"id": "s"})


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("I think so. <answer>Blue Train</answer> and more", "Blue Train"),
        ("<answer>no</answer> wait <answer>yes", "yes"),
        (r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        ("2 + 2\n#### 4", "4"),
        ("I use the <answer> tag. <answer>Heat</answer>", "Heat"),
        ("first\n\nlast line \n", "last line"),
        ("  \n", ""),
    ],
)
def test_an_answer_is_found_where_it_is_marked(completion: str, answer: str) -> None:
    assert answer_of(completion) == answer


@pytest.mark.parametrize(
    ("given", "right", "reward"),
    [
        ("the  BLUE train!", "The Blue Train", 1.0),
        ("Simon & Garfunkel", "simon and garfunkel", 1.0),
        ("Blue Train 2", "Blue Train", 0.0),
        ("Blue Train, by Coltrane", "Blue Train", 0.0),
        ("Ａｍéｌｉｅ", "amélie", 1.0),
    ],
)
def test_exact_title_sees_past_spelling_only(given: str, right: str, reward: float) -> None:
    assert earned("exact_title", f"<answer>{given}</answer>", right) == reward


def test_exact_title_takes_any_of_several() -> None:
    assert earned("exact_title", "b", ["A", "B"]) == 1
    assert earned("exact_title", "c", ["A", "B"]) == 0


def test_token_f1_counts_words_with_their_repetitions() -> None:
    assert earned("token_f1", "a b b", "b b c") == pytest.approx(2 * 2 / 6)
    assert earned("token_f1", "x", ["a", "x y"]) == pytest.approx(2 / 3)
    assert earned("token_f1", "", "a") == 0


def test_ranked_ndcg_pays_for_places() -> None:
    listed = "<answer>\n1. Alien\n2. Brazil\n3. Cube\n</answer>"
    assert earned("ranked_ndcg", listed, "Alien") == 1
    assert earned("ranked_ndcg", listed, "brazil") == pytest.approx(1 / LN3)
    assert earned("ranked_ndcg", listed, "Cube") == pytest.approx(1 / 2)
    assert earned("ranked_ndcg", listed, "Dune") == 0
    assert earned("ranked_ndcg", listed, ["Cube", "Alien"]) == pytest.approx((1 + 1 / 2) / (1 + 1 / LN3))


def test_naming_a_title_twice_pays_once() -> None:
    assert earned("ranked_ndcg", "<answer>\n- A\n- A\n</answer>", ["A", "B"]) == pytest.approx(1 / (1 + 1 / LN3))


@pytest.mark.parametrize(
    ("answer", "entries"),
    [
        ("1) One\n2) Two", ["one", "two"]),
        ("0. One\n1. Two", ["one", "two"]),
        ("My list:\n- One\n* Two", ["one", "two"]),
        ("Here it is:\n(1) One\nIt is good.\n(2) Two", ["one", "two"]),
        ("One\nTwo", ["one", "two"]),
        ("One, Two", ["one", "two"]),
        ("1. One, 2. Two", ["one", "two"]),
        ("- Paris, Texas", ["paris texas"]),
        ("One; Two, too", ["one", "two too"]),
        ("One | Two", ["one", "two"]),
        ("", []),
        ("2001: A Space Odyssey\n1984. A novel", ["2001 a space odyssey", "1984 a novel"]),
        ("2001: A Space Odyssey", ["2001 a space odyssey"]),
        ("2. Two\n3. Three", ["2 two", "3 three"]),
        ("1. One\n3. Three", ["1 one", "3 three"]),
        ("- 2001: A Space Odyssey\n- Heat", ["2001 a space odyssey", "heat"]),
    ],
)
def test_lists_come_in_many_layouts(answer: str, entries: list[str]) -> None:
    assert ranking_of(answer, set()) == entries


@pytest.mark.parametrize(
    "title",
    ["The Good, the Bad and the Ugly", "Monsters; Inc.", "1. FC Heidenheim", "1984: a, b", "2 Fast | 2 Furious"],
)
def test_one_line_that_is_right_as_a_whole_is_one_entry(title: str) -> None:
    assert ranking_of(title, {normalised(title)}) == [normalised(title)]
    assert earned("ranked_ndcg", f"<answer>{title}</answer>", title) == 1


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ("Schindler’s List", "Schindler's List"),
        ("“Crocodile” Dundee", '"Crocodile" Dundee'),
        ("Spider‑Man – Far From Home", "Spider-Man: Far from Home"),
        ("Wall·E", "WALL-E"),
        ("「君の名は。」", "君の名は"),
        ("Ｔｏｋｙｏ！　Ｓｔｏｒｙ", "Tokyo Story"),
        ("Simon &amp; Garfunkel", "Simon and Garfunkel"),
        ("Rock &#39;n&#x27; Roll", "Rock 'n' Roll"),
        ("Amélie", "Ame\u0301lie"),
        ("Straße", "STRASSE"),
        ("Pokémon™", "Pokémon"),
        ("soft\u00adware\u200b", "software"),
        ("¿Qué?", "que\u0301"),
        ("E.T.…", "E.T."),
        ("I ❤️ Huckabees", "I ❤ Huckabees"),
        ("Don´t", "Don't"),
        ("8 ½ − x", "8 1/2 x"),
    ],
)
def test_titles_match_whatever_marks_they_are_written_with(given: str, title: str) -> None:
    assert earned("exact_title", f"<answer>{given}</answer>", title) == 1


@pytest.mark.parametrize(
    ("given", "title"), [("Alien", "Aliens"), ("Résumé", "Resume"), ("Se7en", "Seven"), ("★", "♥")]
)
def test_titles_that_differ_in_letters_differ(given: str, title: str) -> None:
    assert earned("exact_title", f"<answer>{given}</answer>", title) == 0


@pytest.mark.parametrize(
    ("completion", "right", "reward"),
    [
        ("The total is #### 1,234", "1234", 1.0),
        (r"\boxed{0.5}", "1/2", 1.0),
        ("<answer>50%</answer>", "0.5", 1.0),
        ("<answer>-3</answer>", "3", 0.0),
        ("<answer>Paris</answer>", "paris.", 1.0),
        ("<answer>Rome</answer>", "Paris", 0.0),
        ("72", "Half of 48 is 24, so 48 + 24.\n#### 72", 1.0),
        ("$1,000.50", "1000.5", 1.0),
        ("The answer is 1e9999999", "5", 0.0),
        ("12345678901234567890123456789", "12345678901234567890123456788", 0.0),
        ("10 - 3", "-3", 0.0),
        ("in 2010-2015", "2015", 0.0),
        ("72 dollars", "72", 0.0),
        ("5 million", "5", 0.0),
        (r"\boxed{72\text{ cm}^2}", "2", 0.0),
        (r"\boxed{1,2}", "12", 0.0),
        ("1,23,456", "123456", 0.0),
        ("The answer is 72.", "72", 1.0),
        ("So the final answer is: **72**", "72", 1.0),
        ("<answer>−５</answer>", "-5", 1.0),
        ("<answer>5²</answer>", "52", 0.0),
        ("<answer>5²</answer>", "5²", 1.0),
        ("£18", "18.00", 1.0),
        ("-$5", "-5", 1.0),
        ("", ".", 0.0),
        ("  ", "", 1.0),
        ("(5, 2)", "(1, 2)", 0.0),
        ("( 1,2 )", "(1, 2)", 1.0),
        ("2", "3:2", 0.0),
        ("2023-03-15", "2024-01-15", 0.0),
        ("x-1", "x+1", 0.0),
        ("X + 1.", "x+1", 1.0),
        ("-x", "x", 0.0),
    ],
)
def test_exact_answer_compares_numbers_as_numbers(completion: str, right: str, reward: float) -> None:
    assert earned("exact_answer", completion, right) == reward


@pytest.mark.parametrize("text", ["1/0", "no number", "1e999999999999999999999", "1e-999999", "9" * 200])
def test_what_is_no_number_is_none(text: str) -> None:
    assert plain_number(text) is None


def test_a_title_of_punctuation_alone_is_compared_as_it_is() -> None:
    assert earned("exact_title", "", "!!!") == 0
    assert earned("exact_title", "!!!", "!!!") == 1


def test_a_list_that_nothing_marks_is_the_whole_completion() -> None:
    assert earned("ranked_ndcg", "1. A\n2. B\n3. C", "A") == 1
    assert earned("ranked_ndcg", "1. A\n2. B\n3. C", "C") == 0.5


def test_rewards_that_add_up_to_more_than_can_be_squared_are_an_error() -> None:
    scorer = Scorer([TextReward(name="exact_title", weight=1e30)] * 3)
    with pytest.raises(RewardError, match=r"'s' add up to .*e\+30"):
        scorer("a", {"id": "s", "answer": "a"})


def test_weights_add_up() -> None:
    scorer = Scorer([TextReward(name="exact_title"), TextReward(name="token_f1", weight=0.5)])
    assert scorer("a", {"id": "s", "answer": "a"}) == 1.5


def test_a_missing_answer_names_sample_and_reward() -> None:
    with pytest.raises(RewardError, match="'s7' has no answer, and the reward 'exact_title'"):
        Scorer([TextReward(name="exact_title")])("a", {"id": "s7"})


def test_an_unknown_name_lists_those_that_there_are() -> None:
    with pytest.raises(UnknownRewardError, match="'nonsense' here; there are exact_title, token_f1"):
        Scorer([TextReward(name="nonsense")])


@pytest.fixture
def _plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package, as pip leaves one."""
    (tmp_path / "shouting.py").write_text(
        "def loud(completion, answer, row):\n    return float(completion.isupper()) * row.get('factor', 1)\n"
        "def broken(completion, answer, row):\n    return [1][2]\n"
        "def endless(completion, answer, row):\n    return float('nan')\n"
        "word = 'no function'\n"
    )
    info = tmp_path / "shouting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    names = ("loud", "broken", "endless", "word")
    entries = "".join(f"{name} = shouting:{name}\n" for name in names) + "absent = shouting:absent\n"
    (info / "entry_points.txt").write_text(f"[minirec.rewards]\n{entries}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shouting", raising=False)


def test_a_reward_says_itself_whether_it_needs_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(completion: str, answer: object, row: object) -> float:
        return float(len(completion) < 5)

    @needs_answer
    def same(completion: str, answer: object, row: object) -> float:
        return float(completion == answer)

    monkeypatch.setattr("minirec.rewards.registry.BUILT_IN", {"short": short, "same": same})
    both = Scorer([TextReward(name="short"), TextReward(name="same")])
    assert both.needs_answer == ["same"]
    assert both("abc", {"id": "s", "answer": "abc"}) == 2
    with pytest.raises(RewardError, match="'s' has no answer, and the reward 'same' compares with it"):
        both("abc", {"id": "s"})
    assert Scorer([TextReward(name="short")])("abc", {"id": "s"}) == 1


@pytest.mark.usefixtures("_plugin")
def test_an_installed_package_brings_its_own() -> None:
    assert "loud" in known_rewards()
    scorer = Scorer([TextReward(name="loud")])
    assert scorer.needs_answer == []
    assert scorer("HELLO", {"id": "s", "factor": 2}) == 2
    assert scorer("hello", {"id": "s"}) == 0


@pytest.mark.usefixtures("_plugin")
@pytest.mark.parametrize(
    ("name", "message"),
    [("broken", "'broken' failed for sample 's9': IndexError"), ("endless", "'endless' gave nan for sample 's9'")],
)
def test_a_reward_that_fails_is_named(name: str, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        Scorer([TextReward(name=name)])("a", {"id": "s9"})


@pytest.mark.usefixtures("_plugin")
@pytest.mark.parametrize("name", ["word", "absent"])
def test_an_entry_point_that_is_no_function_is_refused(name: str) -> None:
    with pytest.raises(UnknownRewardError, match=name):
        load_reward(name)
