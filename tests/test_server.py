"""The studio over HTTP: what the front end asks for, what it is refused, and files that stay in their folders."""

import asyncio
import io
import json
import socket
import time
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request
from fakes import Permits, model_calls
from PIL import Image
from vdit.host import folders
from vdit.host.catalog import load_nodes, object_infos
from vdit.host.server import PortTaken, bind, is_loopback, same_origin_only
from vdit.host.workflow import load

QUICK = aiohttp.ClientTimeout(total=5)
WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"


def ask(studio, method, path, **options):
    """-> (status, headers, body)"""

    async def go():
        async with aiohttp.ClientSession() as session:
            async with session.request(method, studio.rstrip("/") + path, **options) as response:
                return response.status, response.headers, await response.read()

    return asyncio.run(go())


def png(color="red", size=(40, 30)):
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "PNG")
    return out.getvalue()


def upload(studio, name, content, **fields):
    form = aiohttp.FormData(fields, quote_fields=False)
    form.add_field("image", content, filename=name)
    return ask(studio, "POST", "/upload/image", data=form)


def quick_prompt(**sample):
    """The shipped text-to-video workflow, made small."""
    prompt = load(WORKFLOWS / "text-to-video.json", object_infos(load_nodes())).prompt
    node = next(node for node in prompt.values() if node["class_type"] == "VDiTSample")
    node["inputs"].update({"steps": 2, "seconds": 1.0, "width": 64, "height": 64, **sample})
    return prompt


def queue(studio, prompt, **more):
    status, _, body = ask(studio, "POST", "/api/prompt", json={"prompt": prompt, "client_id": "test", **more})
    return status, json.loads(body)


def finished(studio, job_id, within=60):
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        job = json.loads(ask(studio, "GET", f"/api/jobs/{job_id}")[2])
        if job.get("status") in ("completed", "failed", "cancelled"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"still {job}")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/system_stats",
        "/features",
        "/users",
        "/settings",
        "/extensions",
        "/object_info",
        "/embeddings",
        "/queue",
        "/prompt",
        "/history",
        "/jobs?status=completed",
        "/i18n",
        "/global_subgraphs",
        "/experiment/models",
        "/workflow_templates",
        "/internal/folder_paths",
        "/internal/logs/raw",
        "/userdata?dir=workflows&full_info=true",
        "/user.css",
        "/userdata/user.css",
    ],
)
@pytest.mark.parametrize("prefix", ["", "/api"])
def test_every_address_the_front_end_asks_for_answers(studio, prefix, path):
    if not (prefix and path == "/"):
        assert ask(studio, "GET", prefix + path)[0] == 200


def test_nodes_templates_help_and_scripts_of_the_pack_are_served(studio):
    infos = json.loads(ask(studio, "GET", "/api/object_info")[2])
    assert {"VDiTLoadModel", "VDiTSample", "LoadImage", "SaveVideo"} <= set(infos)
    names = json.loads(ask(studio, "GET", "/api/workflow_templates")[2])["vdit"]
    assert "first-frame-to-video" in names
    for name in names:
        assert ask(studio, "GET", f"/api/workflow_templates/vdit/{name}.json")[0] == 200
    assert all(
        ask(studio, "GET", f"/extensions/vdit/docs/{node}.md")[0] == 200 for node in infos if node.startswith("VDiT")
    )
    for script in json.loads(ask(studio, "GET", "/api/extensions")[2]):
        assert ask(studio, "GET", script)[0] == 200, script


def test_blueprints_and_translations_of_the_pack_are_served(studio):
    listed = json.loads(ask(studio, "GET", "/api/global_subgraphs")[2])
    assert {entry["name"] for entry in listed.values()} == {"Picture to moving picture", "Preview, pick, render"}
    for number, entry in listed.items():
        assert entry["source"] == "custom_node" and entry["info"] == {"node_pack": "custom_nodes.vdit"}
        data = json.loads(ask(studio, "GET", f"/api/global_subgraphs/{quote(number)}")[2])["data"]
        assert json.loads(data)["nodes"][0]["title"] == entry["name"]
    assert json.loads(ask(studio, "GET", "/api/global_subgraphs/..%2F..%2Fpyproject")[2]) is None
    texts = json.loads(ask(studio, "GET", "/api/i18n")[2])
    assert texts.keys() == {"ja", "ko", "zh"}
    assert texts["zh"]["nodeDefs"]["VDiTSample"]["inputs"]["seed"]["name"] == "种子"
    assert "drop-it" in texts["ko"]["templateWorkflows"]["template"]["vdit"]


def test_a_studio_for_the_network_still_refuses_foreign_names_and_sites():
    guard = same_origin_only(public=True)

    async def answer(request):
        return "in"

    def get(**headers):
        request = make_mocked_request("GET", "/api/queue", headers=headers)
        try:
            return asyncio.run(guard(request, answer))
        except aiohttp.web.HTTPForbidden:
            return "refused"

    assert get(Host="192.168.0.7:8189") == get(Host=f"{socket.gethostname()}:1") == "in"
    assert get(Host="rebound.example") == get(Host="192.168.0.7", Origin="http://192.168.0.8") == "refused"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "127.0.0.1.evil.example"},
    ],
)
def test_other_sites_and_names_are_refused(studio, headers):
    assert ask(studio, "GET", "/api/object_info", headers=headers)[0] == 403
    assert ask(studio, "POST", "/api/prompt", headers=headers, json={})[0] == 403


def test_only_loopback_names_are_loopback():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, (None, "", "0.0.0.0", "192.168.0.1", "localhost.evil.example")))


@pytest.mark.parametrize(
    "path",
    [
        "/view?filename=../../secret.txt",
        "/view?filename=/etc/passwd",
        "/view?filename=x&subfolder=../..",
        "/view?filename=x&type=user",
        "/userdata/..%2F..%2Fsecret.txt",
        "/userdata/%2Fetc%2Fpasswd",
        "/userdata?dir=../..",
        "/extensions/vdit/../../pyproject.toml",
        "/api/workflow_templates/vdit/..%2F..%2Fpyproject.toml",
        "/internal/files/models",
        "/..%2f..%2fsecret.txt",
    ],
)
def test_paths_stay_in_their_folders(studio, path):
    (folders.current.base / "secret.txt").write_text("secret")
    status, _, body = ask(studio, "GET", path)
    assert status in (400, 403, 404) and b"secret" != body


def test_an_uploaded_picture_is_stored_once_and_never_overwrites_another(studio):
    assert json.loads(upload(studio, "pic.png", png())[2]) == {"name": "pic.png", "subfolder": "", "type": "input"}
    assert json.loads(upload(studio, "pic.png", png())[2])["name"] == "pic.png"
    assert json.loads(upload(studio, "pic.png", png("blue"))[2])["name"] == "pic (1).png"
    assert ask(studio, "GET", "/view?filename=pic.png&type=input")[2] == png()
    assert "pic.png" in ask(studio, "GET", "/api/object_info/LoadImage")[2].decode()


@pytest.mark.parametrize(
    ("name", "content", "fields", "status"),
    [
        ("script.html", b"<script>", {}, 415),
        ("drawing.svg", b"<svg/>", {}, 415),
        ("no-picture.png", b"text", {}, 415),
        ("half.png", png()[:40], {}, 415),
        ("pic.png", png(), {"subfolder": "../../x"}, 403),
        ("pic.png", png(), {"type": "user"}, 400),
    ],
)
def test_uploads_are_pictures_or_videos_in_the_input_folder(studio, name, content, fields, status):
    assert upload(studio, name, content, **fields)[0] == status
    assert not (folders.directory("input") / name).exists() or name == "pic.png"


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("multipart/form-data", b"", "boundary"),
        ("multipart/form-data; boundary=" + "b" * 100, b"--b", "too long"),
        ("multipart/form-data; boundary=b", b"no boundary", "boundary"),
        ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"y" * 9000 + b"\r\n\r\n--b--\r\n", "8190"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n\x89\r\n--b--\r\n',
            "decode",
        ),
        ("text/plain", b"x", "no file in the field 'image'"),
    ],
)
def test_a_form_that_cannot_be_read_is_refused_with_the_reason(studio, kind, body, says):
    status, _, said = ask(studio, "POST", "/upload/image", data=body, headers={"Content-Type": kind})
    assert status == 400 and says in said.decode() and "'image'" in said.decode()


def test_a_subfolder_that_is_a_file_is_refused(studio):
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("image", png(), filename="pic.png")
    form.add_field("subfolder", png(), filename="sub.png")
    status, _, said = ask(studio, "POST", "/upload/image", data=form)
    assert status == 400 and "'subfolder' is a file" in said.decode()


def test_an_upload_named_by_a_path_lands_in_the_input_folder(studio):
    assert json.loads(upload(studio, "../../evil.png", png())[2])["name"] == "evil.png"
    assert (folders.directory("input") / "evil.png").is_file()


def test_files_are_served_in_ranges_and_never_as_active_pages(studio):
    path = folders.directory("output") / "page.html"
    path.write_text("<script>alert(1)</script>")
    status, headers, body = ask(studio, "GET", "/api/view?filename=page.html", headers={"Range": "bytes=0-7"})
    assert (status, body) == (206, b"<script>")
    assert headers["Content-Type"] == "application/octet-stream" and headers["X-Content-Type-Options"] == "nosniff"
    assert "connect-src 'self'" in headers["Content-Security-Policy"]


def test_previews_and_channels_of_a_picture(studio):
    upload(studio, "channels.png", png())
    for query, kind in (
        ("preview=webp;70", "WEBP"),
        ("preview=jpeg", "JPEG"),
        ("channel=rgb", "PNG"),
        ("channel=a", "PNG"),
    ):
        body = ask(studio, "GET", f"/api/view?filename=channels.png&type=input&{query}")[2]
        assert Image.open(io.BytesIO(body)).format == kind


def test_workflows_are_saved_listed_moved_and_deleted(studio):
    name = "/api/userdata/workflows%2Fmine.json"
    assert ask(studio, "POST", name + "?overwrite=false&full_info=true", data=b'{"a": 1}')[0] == 200
    assert ask(studio, "POST", name + "?overwrite=false", data=b"{}")[0] == 409
    assert json.loads(ask(studio, "GET", name)[2]) == {"a": 1}
    listed = json.loads(ask(studio, "GET", "/api/userdata?dir=workflows&recurse=true&split=false&full_info=true")[2])
    assert "mine.json" in [entry["path"] for entry in listed]
    status, _, body = ask(studio, "POST", name + "/move/workflows%2Fyours.json?overwrite=false")
    assert (status, json.loads(body)) == (200, "workflows/yours.json")
    assert ask(studio, "GET", name)[0] == 404
    assert ask(studio, "DELETE", "/api/userdata/workflows%2Fyours.json")[0] == 204


def test_settings_that_every_page_would_wait_for_are_not_kept(studio):
    before = ask(studio, "GET", "/api/settings")[2]
    assert ask(studio, "POST", "/api/settings/Comfy.Locale", json=[[]] * 300_000)[0] == 400  # a fuzzer's
    assert ask(studio, "POST", "/api/settings", json={"a.b": "x" * 2_000_000})[0] == 400
    assert ask(studio, "GET", "/api/settings")[2] == before


def test_settings_survive(studio):
    assert ask(studio, "POST", "/api/settings/Comfy.Locale", json="de")[0] == 200
    assert ask(studio, "POST", "/api/settings", json={"a.b": [1]})[0] == 200
    settings = json.loads(ask(studio, "GET", "/api/settings")[2])
    assert settings["Comfy.Locale"] == "de" and settings["a.b"] == [1]
    ask(studio, "POST", "/api/settings/Comfy.Locale", json="en")


def test_a_prompt_runs_and_its_video_can_be_fetched(studio):
    status, answer = queue(studio, quick_prompt())
    assert status == 200, answer
    job = finished(studio, answer["prompt_id"])
    assert job["status"] == "completed", job.get("execution_error")
    shown = job["preview_output"]
    assert shown["filename"].endswith(".mp4") and shown["mediaType"] == "images"
    query = f"filename={shown['filename']}&subfolder={shown['subfolder']}&type={shown['type']}"
    status, headers, body = ask(studio, "GET", f"/api/view?{query}")
    assert (status, headers["Content-Type"]) == (200, "video/mp4") and body[4:8] == b"ftyp"
    history = json.loads(ask(studio, "GET", f"/api/history/{answer['prompt_id']}")[2])
    assert history[answer["prompt_id"]]["status"]["status_str"] == "success"


def test_a_bad_prompt_is_answered_with_the_nodes_errors(studio):
    status, answer = queue(studio, quick_prompt(steps=-1))
    assert status == 400
    (entry,) = answer["node_errors"].values()
    assert entry["class_type"] == "VDiTSample" and entry["errors"][0]["type"] == "value_smaller_than_min"
    assert ask(studio, "POST", "/api/prompt", data=b"not json")[0] == 400
    assert queue(studio, {"1": {"class_type": "KSampler", "inputs": {}}})[1]["error"]["type"] == "missing_node_type"


def preview(text="hello"):
    return {"1": {"class_type": "PreviewAny", "inputs": {"source": text}}}


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"extra_data": "x"}, 'extra_data must be an object, found "x"'),
        ({"extra_data": {"extra_pnginfo": [1]}}, "extra_data.extra_pnginfo must be an object, found [1]"),
        ({"extra_data": {"extra_pnginfo": {"workflow": "w"}}}, "extra_data.extra_pnginfo.workflow must be an object"),
        ({"client_id": ["a"]}, 'client_id must be a string, found ["a"]'),
        ({"client_id": 5}, "client_id must be a string, found 5"),
        ({"client_id": {"id": "a"}}, "client_id must be a string"),
        ({"prompt_id": {"a": 1}}, "prompt_id must be a string"),
        ({"front": "yes"}, 'front must be true or false, found "yes"'),
        ({"number": True}, "number must be a number, found true"),
        ({"partial_execution_targets": [5]}, "partial_execution_targets[0] must be a string, found 5"),
        ({"prompt": [1]}, "prompt must be an object, found [1]"),
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_what_it_must_be(studio, fields, words):
    status, _, body = ask(studio, "POST", "/prompt", json={"prompt": preview(), **fields})
    answer = json.loads(body)
    assert status == 400 and words in answer["error"]["message"]
    assert ask(studio, "GET", "/api/jobs")[0] == 200


@pytest.mark.parametrize(
    "prompt, words",
    [
        ({"1": {"class_type": 5, "inputs": {}}}, "class_type must be a string, found 5"),
        ({"1": {"class_type": "PreviewAny", "inputs": [1]}}, "inputs must be an object, found [1]"),
        ({"1": [1]}, "prompt.1 must be an object, found [1]"),
        ({"1": {**preview()["1"], "_meta": {"title": 5}}}, "_meta.title must be a string"),
        (preview([[], 0]), "must be a length-2 list of [node_id, slot_index]"),
        ({"1": {"class_type": "PreviewImage", "inputs": {"images": "hello"}}}, "Needs a link from a node that gives"),
        (
            {
                "1": {"class_type": "LoadImage", "inputs": {"image": 5}},
                "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
            },
            "expected a string",
        ),
    ],
)
def test_a_prompt_of_the_wrong_shape_is_refused_with_its_node(studio, prompt, words):
    status, answer = queue(studio, prompt)
    assert status == 400 and words in json.dumps(answer)


@pytest.mark.parametrize(
    "path, body",
    [
        ("/interrupt", {"prompt_id": [1]}),
        ("/jobs/cancel", {"job_ids": [[1]]}),
        ("/queue", {"delete": 5}),
        ("/history", {"delete": [{}]}),
        ("/settings", [1]),
    ],
)
def test_other_bodies_are_checked_too(studio, path, body):
    assert ask(studio, "POST", f"/api{path}", json=body)[0] == 400


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "é" * 150 + ".png", "b/" + "c" * 5000 + ".png"])
def test_a_name_too_long_for_a_file_is_refused(studio, name):
    status, _, body = upload(studio, name, png())
    assert status == 400 and b"bytes in one name" in body
    assert ask(studio, "GET", f"/api/view?filename={name}")[0] == 400


def test_what_a_job_says_reaches_its_own_client_alone(studio):
    heard = {"one": [], "two": []}

    async def listen(name):
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{studio}ws?clientId={name}") as ws:
            async for message in ws:
                heard[name].append(json.loads(message.data)["type"])
                if heard[name][-1] == "execution_success":
                    return

    async def go():
        listeners = [asyncio.create_task(listen(name)) for name in heard]
        while not all(heard.values()):
            await asyncio.sleep(0.01)
        async with aiohttp.ClientSession() as session:
            for client in ({"client_id": "absent"}, {}, {"client_id": "one"}):
                body = {"prompt": preview(f"for {client}"), **client}
                async with session.post(studio + "prompt", json=body) as response:
                    assert response.status == 200
        await asyncio.wait_for(listeners[0], 20)
        listeners[1].cancel()

    asyncio.run(go())
    assert heard["one"].count("execution_start") == 1 and set(heard["two"]) == {"status"}


def test_a_failing_node_is_reported_on_its_job(studio):
    prompt = quick_prompt()
    (shot,) = (node for node in prompt.values() if node["class_type"] == "VDiTEncodeConditioning")
    shot["inputs"]["prompt"] = "word " * 500  # longer than a prompt may be, which is known when it is encoded
    job = finished(studio, queue(studio, prompt)[1]["prompt_id"])
    assert job["status"] == "failed" and job["execution_error"]["node_type"] == "VDiTEncodeConditioning"
    assert "characters" in job["execution_error"]["exception_message"]


@pytest.fixture
def permits(monkeypatch):
    """The model waits in each call until the test allows it."""
    permits = Permits()
    model_calls(monkeypatch, permits.wait_for)
    yield permits
    permits.allow(10**9)


def test_freeing_and_removing_act_on_what_waits_while_a_job_runs_as_in_comfyui(studio, permits):
    """Scripts free memory after each job that they post; a client takes away what waits, never what runs."""
    prompt = quick_prompt(seed=41)
    ids = [queue(studio, prompt)[1]["prompt_id"] for _ in range(3)]
    permits.wait_until_asked(1)
    for _ in range(8):  # as many as there are threads that could wait
        assert ask(studio, "POST", "/api/free", json={"unload_models": True}, timeout=QUICK)[0] == 200
    urgent = queue(studio, prompt, number=-7)[1]
    assert urgent["number"] == -7
    ask(studio, "POST", "/api/interrupt", json={"prompt_id": ids[1]})
    ask(studio, "POST", "/api/queue", json={"delete": [ids[0], ids[2]]})
    jobs = json.loads(ask(studio, "GET", "/api/queue")[2])
    assert [entry[1] for entry in jobs["queue_running"]] == ids[:1]
    assert [entry[1] for entry in jobs["queue_pending"]] == [urgent["prompt_id"], ids[1]]
    permits.allow(100)
    done = [finished(studio, job) for job in (ids[0], urgent["prompt_id"], ids[1])]
    assert [job["status"] for job in done] == ["completed"] * 3
    cached = [dict(job["execution_status"]["messages"])["execution_cached"]["nodes"] for job in done]
    assert not cached[1] and len(cached[2]) == len(prompt)


def test_waiting_jobs_can_be_cancelled_and_the_running_one_stops_before_its_next_step(studio, permits):
    first = queue(studio, quick_prompt(steps=500, seed=5))[1]["prompt_id"]
    second = queue(studio, quick_prompt(seed=6))[1]["prompt_id"]
    assert json.loads(ask(studio, "POST", f"/api/jobs/{second}/cancel")[2]) == {"cancelled": [second]}
    permits.wait_until_asked(1)
    assert json.loads(ask(studio, "GET", f"/api/jobs/{first}")[2])["status"] == "in_progress"
    ask(studio, "POST", "/api/interrupt", json={"prompt_id": "another"})
    permits.allow(1)
    permits.wait_until_asked(2)  # another job's interrupt does not stop this one
    ask(studio, "POST", "/api/interrupt", json={"prompt_id": first})
    permits.allow(500)
    assert finished(studio, first)["status"] == "cancelled"
    assert permits.asked == 2
    assert ask(studio, "GET", f"/api/jobs/{second}")[0] == 404


def test_the_websocket_reports_progress_and_previews_of_a_run(studio):
    prompt, said, previews = quick_prompt(seed=77, steps=60), [], []

    async def go():
        async with aiohttp.ClientSession() as session, session.ws_connect(studio + "ws?clientId=listener") as ws:
            await ws.send_str(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
            async with session.post(studio + "prompt", json={"prompt": prompt, "client_id": "listener"}) as response:
                assert response.status == 200
            async for message in ws:
                if message.type is aiohttp.WSMsgType.BINARY:
                    previews.append(message.data)
                    continue
                said.append(json.loads(message.data))
                if said[-1]["type"] in ("execution_success", "execution_error"):
                    return

    asyncio.run(asyncio.wait_for(go(), 60))
    kinds = [message["type"] for message in said]
    assert kinds[0] == "status" and said[0]["data"]["sid"] == "listener"
    assert {
        "feature_flags",
        "execution_start",
        "execution_cached",
        "executing",
        "progress",
        "progress_state",
        "executed",
        "execution_success",
    } <= set(kinds)
    assert previews and previews[0][:4] == b"\x00\x00\x00\x04" and b"image/jpeg" in previews[0]


def test_a_taken_port_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortTaken, match="--port"):
            bind("127.0.0.1", taken.getsockname()[1])


def test_requests_are_answered_while_a_model_computes(studio, permits):
    job = queue(studio, quick_prompt(steps=500, seed=9))[1]["prompt_id"]
    permits.wait_until_asked(1)
    assert ask(studio, "GET", "/api/queue")[0] == ask(studio, "GET", "/api/object_info")[0] == 200
    ask(studio, "POST", "/api/interrupt")
    permits.allow(500)
    assert finished(studio, job)["status"] == "cancelled"
