from fastbert.benchmarks.rivals.selection import best_setting, plain_text
from fastbert.data.rows import Row

ROWS = [Row(str(number), None, "even" if number % 2 == 0 else "odd") for number in range(100)]


def test_the_setting_that_is_best_on_held_out_rows_is_chosen():
    seen = []

    def fit(setting, rows):
        seen.append({row.text for row in rows})
        right = {"bad": 0.0, "good": 1.0, "also good": 1.0}[setting]
        return lambda texts: [("odd", "even")[int(text) % 2 == 0] if right else "odd" for text in texts]

    assert best_setting(("bad", "good", "also good"), fit, ROWS, seed=1) == ("good", 10)
    assert [len(rows) for rows in seen] == [90, 90, 90]
    assert seen[0] == seen[1]


def test_of_few_rows_none_are_held_out():
    assert best_setting(("first", "second"), lambda *_: None, ROWS[:5], seed=1) == ("first", 0)


def test_a_pair_is_one_line():
    assert plain_text(("a\nb", " c")) == "a b c"
