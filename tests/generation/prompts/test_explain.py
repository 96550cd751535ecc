from __future__ import annotations

import json

import pytest
from transformers import CLIPTokenizer

from safelight.errors import PromptError, RequestError
from safelight.generation.prompts import explain_prompt, parse_prompt

PROMPT = "a (cat:1.3) [red|] [dog:hat:0.5] BREAK [sun::3] :)"

SHOWN = """\
'a '
weight 1.3
  'cat'
' '
in turn, one step each
  1
    'red'
  2 (nothing)
' '
until 0.5 of the steps
  'dog'
from then on
  'hat'
BREAK
until step 3
  'sun'
from then on (nothing)
' :)'
note at character 49: ')' closes nothing: it is taken as text.
step 1 of 4:
  'a '
  'cat'*1.3
  ' red dog'
  BREAK
  'sun :)'
  chunk 1, 4 of 14 tokens: a cat*1.3 red dog
  chunk 2, 3 of 14 tokens: sun : )
step 2 of 4:
  'a '
  'cat'*1.3
  '  dog'
  BREAK
  'sun :)'
  chunk 1, 3 of 14 tokens: a cat*1.3 dog
  chunk 2, 3 of 14 tokens: sun : )
step 3 of 4:
  'a '
  'cat'*1.3
  ' red hat'
  BREAK
  'sun :)'
  chunk 1, 4 of 14 tokens: a cat*1.3 red hat
  chunk 2, 3 of 14 tokens: sun : )
step 4 of 4:
  'a '
  'cat'*1.3
  '  hat'
  BREAK
  ' :)'
  chunk 1, 3 of 14 tokens: a cat*1.3 hat
  chunk 2, 2 of 14 tokens: : )"""


def test_the_text_form(tokenizer: CLIPTokenizer) -> None:
    assert str(explain_prompt(PROMPT, 4, tokenizer)) == SHOWN


def test_without_a_tokenizer_there_are_no_chunks() -> None:
    explanation = explain_prompt("a cat", 4)
    assert str(explanation) == "'a cat'\nsteps 1 to 4 of 4:\n  'a cat'"
    assert explanation.to_dict() == {
        "prompt": "a cat",
        "steps": 4,
        "tree": [{"text": "a cat"}],
        "notes": [],
        "tokens_per_chunk": None,
        "phases": [{"first_step": 0, "segments": [{"text": "a cat", "weight": 1.0}], "chunks": None}],
    }


def test_the_json_form(tokenizer: CLIPTokenizer) -> None:
    body = explain_prompt("(cat:2) BREAK [a|b] [c:d:3] [e:.5]:)", 6, tokenizer).to_dict()
    assert json.loads(json.dumps(body)) == body
    assert body["tree"] == [
        {"weight": 2.0, "of": [{"text": "cat"}]},
        {"break": True},
        {"alternate": [[{"text": "a"}], [{"text": "b"}]]},
        {"text": " "},
        {"until": {"step": 3.0}, "before": [{"text": "c"}], "after": [{"text": "d"}]},
        {"text": " "},
        {"until": {"share": 0.5}, "before": [], "after": [{"text": "e"}]},
        {"text": ":)"},
    ]
    assert body["notes"] == [{"at": 35, "message": "')' closes nothing: it is taken as text."}]
    assert body["tokens_per_chunk"] == 14
    phases = body["phases"]
    assert isinstance(phases, list)
    assert [phase["first_step"] for phase in phases] == [0, 1, 2, 3, 4, 5]
    assert phases[0]["chunks"][0] == [{"text": "cat", "weight": 2.0}]
    assert phases[0]["segments"][1:3] == [{"break": True}, {"text": "a c :)", "weight": 1.0}]


def test_an_empty_prompt_is_shown_as_nothing(tokenizer: CLIPTokenizer) -> None:
    assert (
        str(explain_prompt("", 2, tokenizer))
        == "(nothing)\nsteps 1 to 2 of 2:\n  (nothing)\n  chunk 1, 0 of 14 tokens:"
    )


def test_a_parsed_prompt() -> None:
    assert explain_prompt(parse_prompt("(a)"), 3) == explain_prompt("(a)", 3)


def test_prompts_that_cannot_be_explained() -> None:
    with pytest.raises(PromptError):
        explain_prompt("(a:-1)")
    with pytest.raises(RequestError):
        explain_prompt("a", 0)
