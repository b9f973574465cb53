"""Reports of the parser, as it writes them, become one line."""

import pytest

from cst_lightning.usage import explain, one_line


class SpiralsDataModule:
    pass


NESTED = """Parser key "data":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'base.FieldDataModule'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'fractions.Fraction':
        {problem}
    - Expected a <class 'NoneType'>
  Given value type: <class 'dict'>
  Given value: {given}"""

WRONG_TYPE = """Parser key "observed":
          Does not validate against any of the Union subtypes
          Subtypes: [<class 'int'>, <class 'float'>]
          Errors:
            - Expected a <class 'int'>
            - Expected a <class 'float'>
          Given value type: <class 'str'>
          Given value: many"""


def test_misspelt_key_of_a_class_gets_the_nearest_one() -> None:
    message = NESTED.format(problem="Option 'numerater' is not accepted", given="{}")
    assert explain(message, []) == "unknown key data.numerater; did you mean data.numerator?"


def test_misspelt_option_gets_the_nearest_one() -> None:
    line = explain("unrecognized arguments: --trainer.max_epoch 3", ["trainer.max_epochs", "trainer.max_steps"])
    assert line == "unknown key trainer.max_epoch; did you mean trainer.max_epochs?"


def test_a_word_without_an_option_is_not_taken_for_a_key() -> None:
    line = explain("unrecognized arguments: recording.npz", ["data.path"])
    assert line.startswith("expected options such as --config FILE")
    assert line.endswith("found recording.npz without one")


def test_misspelt_key_of_a_group_gets_the_nearest_one() -> None:
    line = explain("Group 'trainer' does not accept option 'max_epoch'", ["trainer.max_epochs"])
    assert line == "unknown key trainer.max_epoch; did you mean trainer.max_epochs?"


def test_key_without_a_near_one_is_named() -> None:
    assert explain("Option 'qqq.zzz' is not accepted", ["trainer.max_epochs"]) == "unknown key qqq.zzz"


def test_wrong_type_says_expected_and_found() -> None:
    message = NESTED.format(problem=WRONG_TYPE, given="{'observed': 'many'}")
    assert explain(message, []) == "data.observed: expected int or float, found many"


def test_wrong_type_of_a_plain_option() -> None:
    message = """Parser key "trainer.max_epochs":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'int'>, <class 'NoneType'>]
  Errors:
    - Expected a <class 'int'>
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: many"""
    assert explain(message, []) == "trainer.max_epochs: expected int, found many"


def test_wrong_type_on_one_line() -> None:
    message = NESTED.format(
        problem="Parser key \"width\":\n  Expected a <class 'int'>. Got value: x", given="NestedArg()"
    )
    assert explain(message, []) == "data.width: expected int, found x"


def test_unknown_class_gets_the_nearest_one() -> None:
    message = 'Parser key "data":\n  - Expected a dot import path string: SpiralDataModule'
    line = explain(message, [], [SpiralsDataModule])
    assert line == "data: no class is called SpiralDataModule; did you mean SpiralsDataModule?"


def test_arguments_beside_class_path_are_explained() -> None:
    message = NESTED.format(problem="Option 'class_path' is not accepted", given="{'class_path': 'X', 'observed': 5}")
    assert explain(message, []).startswith("data: expected nothing but class_path and init_args side by side, found")


def test_what_a_constructor_refused_is_quoted() -> None:
    message = "Errors:\n  - width is 16, expected a multiple of 5\n  - Expected a <class 'NoneType'>\nGiven value: {}"
    assert explain(message, []) == "width is 16, expected a multiple of 5"


def test_a_reason_of_another_kind_is_quoted() -> None:
    message = NESTED.replace("Problem with given class_path 'fractions.Fraction':\n        {problem}", "Two of a name")
    assert explain(message, []) == "Two of a name"


@pytest.mark.parametrize("message", ["one\n  two\n\nthree", "x " * 1000])
def test_anything_else_becomes_one_short_line(message: str) -> None:
    line = explain(message, [])
    assert "\n" not in line
    assert len(line) <= 400


def test_arguments_that_are_no_mapping_are_named() -> None:
    given = "{'class_path': 'F', 'init_args': [4]}"
    message = NESTED.format(problem="'list' object has no attribute 'keys'", given=given)
    assert explain(message, []) == "data.init_args: expected keys and values, found [4]"


def test_what_a_constructor_raised_is_told_without_the_heading() -> None:
    problem = "neuralop is not installed: pip install 'cst-lightning[baselines]'"
    assert one_line(NESTED.format(problem=problem, given="{}")) == problem


def test_only_classes_that_suit_a_key_are_listed() -> None:
    message = NESTED.format(problem="Expected a dot import path string: word", given="word")
    message = message.replace("base.FieldDataModule", f"{SpiralsDataModule.__module__}.SpiralsDataModule")
    line = explain(message, [], [SpiralsDataModule, int])
    assert line == "data: no class is called word; known are SpiralsDataModule"
