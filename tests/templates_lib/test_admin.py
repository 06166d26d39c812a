"""Curating the library in the admin."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Membership
from accounts.roles import Role
from ledger.errors import Conflict, InvalidInput, InvalidTransition
from ledger.models import AuditEntry, Transition
from templates_lib.enums import VersionStatus
from templates_lib.gate import RenderingRejected
from templates_lib.models import AgentTemplate, TemplateVersion
from templates_lib.services import (
    check_version,
    deprecate_version,
    duplicate_version,
    publish_version,
    save_draft,
    template_for,
)
from tests.builders import install, make_organization, make_user

if TYPE_CHECKING:
    from accounts.models import User

pytestmark = pytest.mark.django_db
BASE = "admin:templates_lib_templateversion"


@pytest.fixture(autouse=True)
def _library() -> None:
    install()


@pytest.fixture
def curator() -> User:
    user = make_user(is_staff=True)
    Membership.objects.create(user=user, organization=make_organization(), role=Role.CURATOR)
    return user


@pytest.fixture
def page(curator: User) -> Client:
    client = Client()
    client.force_login(curator)
    return client


@pytest.fixture
def published() -> TemplateVersion:
    return template_for("blank")[1]


@pytest.fixture
def draft(published: TemplateVersion) -> TemplateVersion:
    return duplicate_version(actor=None, version=published)


def change_url(version: TemplateVersion) -> str:
    return reverse(f"{BASE}_change", args=[version.pk])


def do(client: Client, version: TemplateVersion, name: str, **data: str) -> str:
    answer = client.post(reverse(f"{BASE}_do", args=[version.pk, name]), data, follow=True)
    assert answer.status_code == 200
    return " ".join(str(message) for message in answer.context["messages"])


def save(client: Client, version: TemplateVersion, **texts: Any) -> list[str]:
    """Save the form and return the errors beside its two fields."""
    data = {
        "definition": json.dumps(version.definition),
        "skeleton": json.dumps(version.files),
    } | {name: text if isinstance(text, str) else json.dumps(text) for name, text in texts.items()}
    answer = client.post(change_url(version), data)
    if answer.status_code == 302:
        return []
    form = answer.context["adminform"].form
    text = html.unescape(answer.content.decode())
    assert all(error in text for errors in form.errors.values() for error in errors)
    return [f"{name}|{error}" for name, errors in form.errors.items() for error in errors]


def test_everything_can_be_seen(
    page: Client, published: TemplateVersion, draft: TemplateVersion
) -> None:
    for url in (
        reverse("admin:templates_lib_agenttemplate_changelist"),
        reverse("admin:templates_lib_agenttemplate_change", args=[published.template_id]),
        reverse(f"{BASE}_changelist"),
        change_url(published),
        change_url(draft),
    ):
        answer = page.get(url)
        assert answer.status_code == 200, url
        assert b"Blank Template" in answer.content


def test_only_curators_and_administrators_come_in(published: TemplateVersion) -> None:
    superuser = make_user(is_staff=True, is_superuser=True)
    staff = make_user(is_staff=True)
    viewer = make_user(is_staff=True)
    Membership.objects.create(user=viewer, organization=make_organization(), role=Role.VIEWER)
    not_staff = make_user()
    Membership.objects.create(user=not_staff, organization=make_organization(), role=Role.CURATOR)
    expected = {superuser: 200, staff: 403, viewer: 403, not_staff: 302}
    for user, status in expected.items():
        client = Client()
        client.force_login(user)
        assert client.get(change_url(published)).status_code == status
        preview = client.get(reverse(f"{BASE}_preview", args=[published.pk])).status_code
        assert preview == (404 if status == 403 else status)
        client.post(reverse(f"{BASE}_do", args=[published.pk, "duplicate"]))
    assert TemplateVersion.objects.filter(template=published.template).count() == 2


def test_nothing_is_added_or_deleted_by_hand(page: Client, draft: TemplateVersion) -> None:
    for model in ("agenttemplate", "templateversion"):
        assert page.get(reverse(f"admin:templates_lib_{model}_add")).status_code == 403
    delete = reverse(f"{BASE}_delete", args=[draft.pk])
    assert page.post(delete, {"post": "yes"}).status_code == 403


def test_a_published_version_is_immutable(page: Client, published: TemplateVersion) -> None:
    before = (published.digest, published.status)
    answer = page.post(change_url(published), {"definition": "{}", "skeleton": "{}"})
    assert answer.status_code == 403
    published.refresh_from_db()
    assert (published.digest, published.status) == before
    with pytest.raises(Conflict) as caught:
        save_draft(
            actor=None,
            version=published,
            definition=published.definition,
            files=published.files,
        )
    assert caught.value.code == "version_published"


def test_a_draft_is_edited_published_and_wins(page: Client, published: TemplateVersion) -> None:
    message = do(page, published, "duplicate")
    draft = TemplateVersion.objects.get(status=VersionStatus.DRAFT)
    assert (draft.version, draft.template) == ("1.1.0", published.template)
    assert "Blank Template 1.1.0 is a new draft" in message
    assert AuditEntry.objects.filter(event="template_version.duplicated").count() == 1

    changed = draft.definition | {"summary": "Begin anew", "changelog": "- New words."}
    assert save(page, draft, definition=changed) == []
    draft.refresh_from_db()
    assert (draft.status, draft.changelog) == (VersionStatus.DRAFT, "- New words.")
    assert template_for("blank")[1] == published

    assert "is published" in do(page, draft, "publish")
    template, newest = template_for("blank")
    assert (newest, template.description) == (draft, "Begin anew")
    assert newest.published_at is not None
    moved = Transition.objects.filter(subject_id=draft.pk).get()
    assert (moved.from_status, moved.to_status) == ("draft", "published")
    assert moved.actor is not None

    assert "is deprecated" in do(page, draft, "deprecate", reason="Confusing words")
    assert template_for("blank")[1] == published
    assert AgentTemplate.objects.get(slug="blank").description == "Start from scratch"
    reasons = Transition.objects.filter(subject_id=draft.pk).values_list("reason", flat=True)
    assert "Confusing words" in list(reasons)


def test_an_edit_is_on_record_with_who_and_what_stood_there(
    page: Client, curator: User, draft: TemplateVersion
) -> None:
    edits = AuditEntry.objects.filter(event="template_version.edited", object_pk=str(draft.pk))
    assert save(page, draft) == []
    edits.delete()
    draft.refresh_from_db()
    before = draft.definition
    files = {**draft.files, "docs/new.md.jinja": "New.\n"}
    assert save(page, draft, definition=before | {"summary": "Anew"}, skeleton=files) == []
    draft.refresh_from_db()

    entry = edits.get()
    assert entry.actor == curator
    assert entry.remote_addr == "127.0.0.1"
    changes = entry.additional_data["changes"]
    assert changes["definition"] == [before, draft.definition]
    assert draft.definition["summary"] == "Anew"
    assert changes["files"] == {"docs/new.md.jinja": [None, "New.\n"]}
    assert changes["digest"][1] == draft.digest
    assert "version" not in changes

    assert save(page, draft) == []
    assert edits.count() == 1
    assert save(page, draft, definition="{") != []
    assert edits.count() == 1


def test_status_can_not_be_posted(page: Client, draft: TemplateVersion) -> None:
    assert save(page, draft, status="published", digest="0" * 64) == []
    draft.refresh_from_db()
    assert draft.status == VersionStatus.DRAFT
    assert draft.digest != "0" * 64


def test_what_is_wrong_stands_beside_its_field(page: Client, draft: TemplateVersion) -> None:
    good = draft.definition
    cases: list[tuple[dict[str, Any], str]] = [
        ({"definition": "{"}, "definition|Line 1, column 2: this is not JSON"),
        ({"definition": "[]"}, "definition|Write an object, in braces."),
        ({"definition": "[" * 100_000}, "definition|The JSON is nested too deep"),
        ({"definition": good | {"icons": 1}}, "definition|icons: "),
        ({"definition": good | {"position": "x"}}, "definition|position: "),
        ({"definition": good | {"slug": "other"}}, "definition|slug: The slug of this template"),
        ({"definition": good | {"version": "1.0.0"}}, "definition|version: there is a version"),
        ({"definition": good | {"name": "\x07"}}, "definition|name: "),
        ({"definition": good | {"name": "\x00"}}, "definition|Remove the NUL"),
        ({"skeleton": {"README.md.jinja": "\x00"}}, "skeleton|README.md.jinja:1: Remove the NUL"),
        ({"skeleton": {"README.md.jinja": "{% if %}"}}, "skeleton|README.md.jinja:1: "),
        ({"skeleton": {"README.md.jinja": 1}}, "skeleton|README.md.jinja: write the file's text"),
        ({"skeleton": {"main.py": "x = 1"}}, "skeleton|main.py:1: A skeleton holds"),
        (
            {"skeleton": {"README.md.jinja": "a\n{{ spec.nothing }}"}},
            "skeleton|README.md.jinja:2: ",
        ),
        (
            {"skeleton": {"support/a.py": '"""A."""\n\nimport os\n\nos.system("x")\n'}},
            "skeleton|support/a.py:5: ",
        ),
    ]
    for texts, expected in cases:
        errors = save(page, draft, **texts)
        assert errors, expected
        assert errors[0].startswith(expected), errors


def test_many_faults_are_cut_short(page: Client, draft: TemplateVersion) -> None:
    errors = save(page, draft, definition=draft.definition | {f"x{n}": 1 for n in range(50)})
    assert len(errors) == 21
    assert errors[-1] == "definition|30 more after these."


def test_the_preview_shows_the_files_and_the_gate(page: Client, published: TemplateVersion) -> None:
    answer = page.get(reverse(f"{BASE}_preview", args=[published.pk]))
    assert answer.status_code == 200
    text = answer.content.decode()
    for expected in (
        "Passes the gate: the project",
        "capabilities/describe_agent.py",
        "serve(CAPABILITIES)",
    ):
        assert expected in text
    link = page.get(change_url(published)).content.decode()
    assert "Preview, duplicate, publish" in link
    url = reverse(f"{BASE}_preview_version", args=[published.pk])
    assert page.get(url)["Location"] == reverse(f"{BASE}_preview", args=[published.pk])


def test_the_preview_of_a_broken_draft_says_why(page: Client, draft: TemplateVersion) -> None:
    TemplateVersion.objects.filter(pk=draft.pk).update(definition={"name": "<script>"})
    text = page.get(reverse(f"{BASE}_preview", args=[draft.pk])).content.decode()
    assert "does not pass the gate" in text
    assert "<code>slug</code> Field required" in text
    assert "needs attention" in do(page, draft, "publish")
    draft.refresh_from_db()
    assert draft.status == VersionStatus.DRAFT


def test_the_preview_of_unsafe_code_names_it(page: Client, draft: TemplateVersion) -> None:
    files = {"support/a.py": '"""A."""\n\nimport os\n\nos.system("x")\n'}
    TemplateVersion.objects.filter(pk=draft.pk).update(files=files)
    text = page.get(reverse(f"{BASE}_preview", args=[draft.pk])).content.decode()
    assert "does not pass the gate" in text
    assert "<code>support/a.py:5</code>" in text
    assert "<summary" in text


def test_an_action_needs_a_post_a_token_and_a_name(curator: User, draft: TemplateVersion) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(curator)
    url = reverse(f"{BASE}_do", args=[draft.pk, "publish"])
    assert client.post(url).status_code == 403
    assert client.get(url).status_code == 302
    unguarded = Client()
    unguarded.force_login(curator)
    assert unguarded.post(reverse(f"{BASE}_do", args=[draft.pk, "explode"])).status_code == 404
    draft.refresh_from_db()
    assert draft.status == VersionStatus.DRAFT


def test_publishing_twice_is_said(page: Client, published: TemplateVersion) -> None:
    assert "can't become published" in do(page, published, "publish")
    with pytest.raises(InvalidTransition):
        publish_version(actor=None, version=published)
    deprecate_version(actor=None, version=published)
    assert "can't become deprecated" in do(page, published, "deprecate")


def test_a_number_that_was_taken_meanwhile_is_said(
    page: Client, draft: TemplateVersion, published: TemplateVersion
) -> None:
    with pytest.raises(Conflict) as caught:
        save_draft(
            actor=None,
            version=draft,
            definition=draft.definition | {"version": "1.0.0"},
            files=draft.files,
        )
    assert caught.value.code == "version_taken"
    second = duplicate_version(actor=None, version=published)
    assert (draft.version, second.version) == ("1.1.0", "1.2.0")
    assert save(page, second) == []


def test_check_version_names_what_does_not_fit(published: TemplateVersion) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_version(slug="blank", definition=published.definition, files={}, version="9.0.0")
    assert caught.value.problems[0].attr == "version"
    with pytest.raises(RenderingRejected):
        check_version(
            slug="blank",
            definition=published.definition,
            files={"support/a.py": "import os\n"},
        )
