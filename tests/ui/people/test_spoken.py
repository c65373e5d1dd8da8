"""The sign-in page in the reader's language; it runs no script."""

from __future__ import annotations

import html
import re

import pytest

from tests.report.test_export_chinese import english_left
from tests.ui.people.desk import Browser

CHINESE = {"accept-language": "zh-CN,zh;q=0.9"}
NEXT = "/runs?by=maker&page=2"


def fields(page: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return {name: html.unescape(value) for name, value in found}


@pytest.mark.parametrize(
    ("headers", "query", "lang", "other"),
    [({}, {}, "en", "zh"), (CHINESE, {}, "zh-Hans", "en"), (CHINESE, {"language": "en"}, "en", "zh")],
)
def test_it_speaks_the_reader_s_language_and_leads_to_the_other(browser, headers, query, lang, other):
    client = browser()
    page = client.get("/sign-in", params={"next": NEXT, **query}, headers=headers)
    assert f'<html lang="{lang}">' in page.text
    assert "Accept-Language" in page.headers["vary"]
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text
    assert (english_left(page.text) == []) is (lang == "zh-Hans")
    (link,) = re.findall(r'class="language"[^>]* href="([^"]*)"', page.text)
    turned = client.get("/sign-in" + html.unescape(link), headers=headers)
    assert f'lang="{"zh-Hans" if other == "zh" else other}"' in turned.text
    assert fields(turned.text) == {"next": NEXT, "language": other}


@pytest.mark.parametrize(
    ("asked", "headers", "lang"),
    [
        ("zh", {}, "zh-Hans"),
        ("en", CHINESE, "en"),
        ("", CHINESE, "zh-Hans"),
        ('"><b>', {}, "en"),
    ],
)
def test_after_a_wrong_password_it_is_the_same(browser, asked, headers, lang):
    form = {"name": "maker", "password": "wrong", "next": NEXT, "language": asked}
    answer = browser().post("/sign-in", data=form, headers=headers)
    assert answer.status_code == 401
    assert f'<html lang="{lang}">' in answer.text
    assert ("用户名或密码错误" in answer.text) is (lang == "zh-Hans")
    assert fields(answer.text)["next"] == NEXT
    assert "<b>" not in answer.text


def test_a_name_is_not_taken_for_a_word_of_the_page(alone):
    client = Browser(alone.app)
    assert client.sign_in("maker").status_code == 303
    page = client.get("/sign-in", headers=CHINESE).text
    assert '<span translate="no">maker</span>' in page
    assert english_left(page) == []
