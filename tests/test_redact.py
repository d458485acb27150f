"""Whatever holds a secret loses it, whatever holds none stays as it is, and no text takes long."""

import json
import random
import time
from pathlib import Path

import pytest

from sentinel.model.action import StopJob
from sentinel.model.fact import FindingReported, Outcome
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import ActionId, IncidentId, JobId, NodeId
from sentinel.redact import _known, redact, redacted, remember
from sentinel.secret_patterns import KINDS

HERE = Path(__file__).parent
KEY = "q7Rk2vXw9Zp4Lm8Ty3Ns6Bd1"
BASE64 = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PEM = f"-----BEGIN {{}}PRIVATE KEY-----\nMIIE{KEY}\n{KEY}==\n-----END {{}}PRIVATE KEY-----"

SECRETS = [
    f"os.environ['HF_TOKEN'] = '{KEY}'",
    f'config["secretKey"] = "{KEY}"',
    f"HF_TOKEN := {KEY}",
    f"DB_PASS={KEY}",
    f"db_pass: {KEY}",
    f"AWSSecretKey={KEY}",
    f"secretKey: {KEY}",
    f"AZURE_STORAGE_KEY={BASE64}",
    f"signing_key={KEY}",
    f"MASTER_KEY={KEY}",
    f"API Key: {KEY}",
    f"credentials={KEY}",
    f"callback?to=x%3Faccess_token%3D{KEY}",
    f'"url": "x?token\\u003d{KEY}"',
    f"Token {KEY}",
    f"the API key {KEY} is not valid",
    f"curl -u ada:{KEY} hub.example",
    f"curl --user ada:{KEY} hub.example",
    f"--api_key {KEY}",
    f"hvs.{KEY}",
    f"dckr_pat_{KEY}",
    f"shpat_{KEY}",
    f"rk_live_{KEY}",
    f"whsec_{KEY}",
    f"Authorization: Basic {KEY}==",
    f"authorization: bearer {KEY}",
    f"Authorization:\n    Bearer {KEY}",
    f"Proxy-Authorization: Basic {KEY}",
    f"Authorization: Token {KEY}",
    f"Authorization: {KEY}",
    f'Authorization: Digest username="ada", realm="r", response="{KEY}"',
    f"Authorization: AWS4-HMAC-SHA256 Credential=a/b, Signature={KEY}",
    f"headers={{'Authorization': 'Basic {KEY}', 'Accept': '*/*'}}",
    f'{{"Authorization": "Bearer {KEY}"}}',
    f'{{\\"Authorization\\": \\"Bearer {KEY}\\"}}',
    f"[(b'authorization', b'Bearer {KEY}')]",
    f"('x-api-key', '{KEY}')",
    f"X-Auth-Token: {KEY}",
    f"X-Api-Key: {KEY}",
    f"curl -H 'Authorization: Bearer {KEY}' http://head",
    f"bearer {KEY}",
    f'{{"token": "{KEY}"}}',
    f'{{"token":"{KEY}"}}',
    f"{{'api_key': '{KEY}'}}",
    f'text=\'{{\\"password\\": \\"{KEY}\\"}}\'',
    f'"password": "correct horse {KEY} staple"',
    f"password='with \\'a quote {KEY}'",
    f"apiKey: {KEY}",
    f"client_secret={KEY}&x=1",
    f"OPENAI_API_KEY={KEY}",
    f'declare -x HF_TOKEN="{KEY}"',
    f"environ({{'WANDB_API_KEY': '{KEY}', 'HOME': '/root'}})",
    f"MYSQL_PWD={KEY}",
    f"PGPASSWORD={KEY}",
    f"SLACK_TOKEN_2={KEY}",
    f"aws_secret_access_key = {BASE64}",
    f"AWS_SECRET_ACCESS_KEY={BASE64}",
    f'"SecretAccessKey": "{BASE64}"',
    f"AccountName=a;AccountKey={BASE64}==;",
    f"password:\n  {KEY}",
    f"token = {KEY}",
    f"--api-key {KEY}",
    f"--token={KEY}",
    f"--hub-auth-token '{KEY}'",
    f"<password>{KEY}</password>",
    f"machine api.wandb.ai\n  login user\n  password {KEY}",
    f"https://hooks.slack.com/services/T000/B000/{KEY}",
    f"https://hooks.slack.com/workflows/T000/{KEY}",
    f"https://discord.com/api/webhooks/1/{KEY}",
    f"https://ada:{KEY}@head.example/path",
    f"redis://:{KEY}@head:6379/0",
    f"postgres://ada:p/a@{KEY}@db:5432/x",
    f"https://{KEY}@sentry.example/1",
    f"https://u:{KEY}@a.b/x, and https://c.d:80/e",
    f"https://s3.example/a?X-Amz-Signature={KEY}&b=1",
    f"https://blob.example/a?sv=1&sig={KEY}",
    f"Cookie: session={KEY}; theme=dark",
    f"set-cookie: id={KEY}",
    f"cookies={{'session': '{KEY}'}}",
    f"xoxb-1234-{KEY}",
    f"xoxe.xoxp-1-{KEY}",
    f"xapp-1-A0-{KEY}",
    "key AKIAABCDEFGHIJKLMNOP",
    f"ghp_{KEY}",
    f"github_pat_{KEY}",
    f"glpat-{KEY}",
    f"hf_{KEY}",
    f"sk-{KEY}",
    f"sk-proj-{KEY}",
    f"sk-ant-api03-{KEY}",
    f"nvapi-{KEY}",
    f"AIza{KEY}{KEY}",
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx{KEY}.{KEY}",
    PEM.format("", ""),
    PEM.format("OPENSSH ", "OPENSSH "),
    PEM.format("RSA ", "RSA ").replace("\n", "\\n"),
    PEM.format("EC ", "EC ").replace("\n", "\nn1 | "),
    PEM.format("", "")[:60],
    PEM.format("", "")[40:],
    f"text='said\\nhf_{KEY}'",
    f"url=%3Dghp_{KEY}",
    f"hf_{KEY[:18]}\n{KEY[:14]}",
    f"token={KEY[:10]}\n    {KEY[10:]}",
    f'"token": "{KEY[:10]}\n  {KEY[10:]}"',
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_hidden_and_what_is_hidden_stays_so(text: str) -> None:
    hidden = redact(f"before {text} after" if "\n" not in text else text)
    assert KEY[:8] not in hidden
    assert KEY[-8:] not in hidden
    assert BASE64[-8:] not in hidden
    assert "AKIA" not in hidden
    assert "[hidden]" in hidden
    assert redact(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "RuntimeError: CUDA error: device-side assert triggered",
        "KeyError: 'token'",
        "tokens_per_second=1234.5 tokens: 4096 num_tokens = 12",
        "    token = self.sample(logits)",
        "    next_token = logits.argmax(-1)",
        "tokenizer(pad_token='<pad>', eos_token='</s>')",
        "def login(token: Optional[str] = None, password: str = None) -> None:",
        "    return Client(api_key=api_key, token=hf_token)",
        "    secret = os.environ['HF_TOKEN']",
        "slack_token_file = /run/secrets/slack",
        "InvalidTokenError: the token has expired",
        "tcp://10.0.0.1:7801, node-7 and ada@example.org",
        '{"url":"http://head:8080","mail":"ada@example.org"}',
        "http://head:7800/logbook/I-0001?x=a@b",
        "ssh://git@github.com/a/b",
        "glibc-2.31-0ubuntu9.9_amd64 and glib-networking-services",
        "commit 5f2a9c3e1b7d4068a1c2e3f405162738495a6b7c",
        "request_sock_TCP: Possible SYN flooding on port 7800. Sending cookies.  Check SNMP counters.",
        "module verification failed: signature and/or required key missing - tainting kernel",
        "task-scheduler-global-rank-assignment disk-usage-of-the-partition",
        "/usr/lib/python3.11/site-packages/tokenizers/__init__.py:12",
        "Basic configuration of bearer documents: none",
    ],
)
def test_what_holds_none_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("folder", ["captures", "incidents", "field"])
def test_real_kernel_lines_tracebacks_and_recordings_stay_as_they_are(folder: str) -> None:
    files = [file for file in sorted((HERE / folder).rglob("*")) if file.is_file() and file.suffix != ".pyc"]
    texts = {file: file.read_bytes().decode(errors="replace") for file in files}
    assert texts
    assert [file.name for file, text in texts.items() if redact(text) != text] == []


def test_no_text_takes_long() -> None:
    """Random runs of the pieces that the patterns are made of; a quadratic one took minutes."""
    chance = random.Random(12)
    words = [
        "a",
        "-",
        "a-",
        " ",
        "\n",
        "'",
        '"',
        "\\",
        "://",
        ":",
        "@",
        "=",
        "1",
        "eyJ",
        ".",
        "sk-",
        "xoxb-",
        "token",
    ]
    words += ["password", "secret_", "Authorization", "Bearer ", "cookie", "--", "x-", "PRIVATE KEY-----"]
    words += [
        "-----BEGIN ",
        "-----END ",
        "<token>",
        "login ",
        "password ",
        "hooks.slack.com/",
        "?sig=",
        "%3D",
        "\\n",
    ]
    hints = " ".join(hint for kind in KINDS for hint in kind.hints)
    began = time.process_time()
    for _ in range(60):
        piece = "".join(chance.choices(words, k=chance.choice((1, 1, 2, 3, 6))))
        redact((piece * 64_000)[:64_000] + hints)
    assert time.process_time() - began < 60


def test_a_known_secret_is_hidden_wherever_it_stands() -> None:
    remember("correct-horse", b"0123abcd\n", "short")
    try:
        assert redact("said correct-horse, 0123abcd and short") == "said [hidden], [hidden] and short"
        assert redact("correct-\nhorse, corr\\n  ect-horse") == "[hidden], [hidden]"
    finally:
        _known.clear()


def test_every_text_of_a_noun_is_redacted_and_a_noun_without_any_is_itself() -> None:
    finding = Finding("gpu", "x", "gpu-0", Health.WARNING, f"HF_TOKEN={KEY}", {"said": f"ghp_{KEY}", "n": 3})
    fact = FindingReported(1.0, NodeId("n1"), finding)
    hidden = redacted(fact)
    assert KEY not in str(hidden)
    assert (hidden.finding.evidence["n"], hidden.finding.component, hidden.node) == (3, "gpu-0", "n1")
    assert redacted(hidden) is hidden
    outcome = Outcome(1.0, ActionId("a"), ok=False, detail="no", data=("stack", f"token={KEY}"))
    assert redacted(outcome).data == ("stack", "token=[hidden]")
    assert KEY not in str(redacted(StopJob(ActionId("a"), IncidentId("i"), JobId("j"), f"token={KEY}")))


def test_a_key_says_that_its_value_is_secret() -> None:
    plain = {"env": {"HF_TOKEN": KEY, "password": "hunter2", "step": "12345"}, "rows": [{"api-key": KEY}]}
    hidden = redacted(plain)
    assert json.dumps(hidden).count("[hidden]") == 3
    assert hidden["env"]["step"] == "12345"
