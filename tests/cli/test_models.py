from __future__ import annotations


def test_list_names_what_is_there_and_what_can_be_pulled(safelight):
    rows = {row["name"]: row["state"] for row in safelight("models", "list", "--json").body["models"]}
    assert rows == {"open-nsfw": "built in", "nsfw-image-detection-384": "can be pulled"}
    assert "nsfw-image-detection-384" in safelight("models", "list").out


def test_showing_or_removing_what_is_not_there(safelight):
    for command in ("show", "remove"):
        ran = safelight("models", command, "nsfw-image-detection-384", "--json")
        assert ran.status == 2
        assert ran.body["error"]["code"] == "model.not_pulled"


def test_pulling_a_name_that_means_nothing_touches_no_network(safelight):
    ran = safelight("models", "pull", "no-such-model", "--json")
    assert ran.status == 2
    assert ran.body["error"]["code"] == "model.unknown"


def test_pulling_without_a_connection_is_a_download_error(safelight, home):
    ran = safelight("models", "pull", "owner/name", "--json", HF_ENDPOINT="http://127.0.0.1:9")
    assert ran.status == 3
    assert ran.body["error"]["code"] == "model.download"
    assert not list((home / "models").iterdir())


def test_the_embedded_one_has_a_record_too(safelight):
    body = safelight("models", "show", "open-nsfw", "--json").body
    assert body["name"] == "open-nsfw"
    assert body["size"] == 23_590_724
    assert body["files"]["open-nsfw.onnx"].startswith("864bb37b")


def test_a_damaged_model_can_be_removed(safelight, home):
    folder = home / "models" / "a--b"
    folder.mkdir(parents=True)
    (folder / "safelight.json").write_text("{")
    assert safelight("models", "remove", "a/b").status == 0
    assert not folder.exists()
