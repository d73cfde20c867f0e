"""Runs the commands of the pods of two jobs here, as a cluster would, and compares the result with that of one process.

python3 pods.py MANIFESTS FOLDER PROGRAM

The job that merges starts first, and waits. Two pods of the other job run at a time; one of them is killed, and tried
again. The folder /data of the pods is one in FOLDER.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time

import yaml

manifests, folder, program = (pathlib.Path(name) for name in sys.argv[1:])
SETTINGS = {"COUNT": "400", "SAMPLE": "--steps 3", "PAUSE": "1"}

objects = {}
for file in sorted(manifests.glob("*.yaml")):
    for item in yaml.safe_load_all(file.read_text()):
        objects[item["kind"], item["metadata"]["name"]] = item

running = []
tools, data = folder / "tools", folder / "data"
tools.mkdir()
data.mkdir()
(tools / "downhill").symlink_to(program)


def environment(pod, container, more):
    """The variables of a container: those of the config map, its own ones, and those that a controller sets."""
    variables = {}
    for source in container.get("envFrom", []):
        variables |= objects["ConfigMap", source["configMapRef"]["name"]]["data"]
    for variable in container.get("env", []):
        if "value" in variable:
            assert isinstance(variable["value"], str), variable
            variables[variable["name"]] = variable["value"]
        else:
            assert variable["valueFrom"] == {"resourceFieldRef": {"resource": "limits.cpu"}}, variable
            variables[variable["name"]] = container["resources"]["limits"]["cpu"]
    known = {name: value for name, value in SETTINGS.items() if name in variables}
    claims = {volume["name"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume}
    mounts = {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] in claims}
    assert mounts == {"/data"}, mounts
    return {"PATH": f"{tools}:{os.environ['PATH']}", "XDG_CACHE_HOME": f"{folder}/cache",
            "LP_NATIVE_VECTOR_WIDTH": "256"} | variables | known | more


def start(pod, container, more):
    """A process with the command of a container."""
    command = [word.replace("/data", str(data)) for word in container["command"] + container["args"]]
    log = (folder / f"{container['name']}.log").open("a")
    process = subprocess.Popen(command, env=environment(pod, container, more), stdout=log, stderr=log, cwd=folder)
    running.append(process)
    return process


def pod_of(job):
    return job["spec"]["template"]["spec"]


def merge():
    """The pod that merges: its init containers, then its container."""
    pod = pod_of(objects["Job", "downhill-merge"])
    for container in pod["initContainers"] + pod["containers"]:
        code = start(pod, container, {}).wait(timeout=300)
        if code != 0:
            return code
    return 0


job = objects["Job", "downhill-moments"]
count = job["spec"]["completions"]
assert job["spec"]["completionMode"] == "Indexed"
assert job["spec"]["parallelism"] == count
rules = job["spec"]["podFailurePolicy"]["rules"]
final = {code for rule in rules for code in rule.get("onExitCodes", {}).get("values", [])}
KILLED = 1
tries = {}


def index(number):
    """A completion index: its pod, and after a failure that may be mended, another one."""
    pod = pod_of(job)
    for attempt in range(job["spec"]["backoffLimitPerIndex"] + 1):
        tries[number] = attempt + 1
        process = start(pod, pod["containers"][0], {"JOB_COMPLETION_INDEX": str(number)})
        if number == KILLED and attempt == 0:
            time.sleep(2)
            if process.poll() is None:
                process.kill()
        code = process.wait(timeout=300)
        if code == 0 or code in final:
            return code
    return code


# A first start compiles the shaders.
outside = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": f"{folder}/cache", "LP_NATIVE_VECTOR_WIDTH": "256"}
first = [program, "sample", "-q", "-n", "1", "--steps", "1", "-o", folder / "first.png"]
subprocess.run(first, env=outside, check=True)

with concurrent.futures.ThreadPoolExecutor() as merging, concurrent.futures.ThreadPoolExecutor(2) as pods:
    merged = merging.submit(merge)
    try:
        codes = list(pods.map(index, range(count)))
        if any(codes):
            sys.exit(f"exit codes of the pods: {codes}\n{(folder / 'downhill.log').read_text()[-2000:]}")
        code = merged.result()
    finally:
        for process in running:
            process.kill()
log = (folder / "merge.log").read_text()
if code != 0 or not log:
    sys.exit(f"the merge ended with {code}, {'after' if log else 'and did not have to wait'}:\n{log[-2000:]}")
if tries != {number: 2 if number == KILLED else 1 for number in range(count)}:
    sys.exit(f"tries of each pod: {tries}; pod {KILLED} was to be killed in the middle, once")

images = folder / "images"
steps = SETTINGS["SAMPLE"].split()
sample = [program, "sample", "-q", "-n", SETTINGS["COUNT"], *steps, "-o", images / "%05d.png"]
frechet = [program, "inspect", "frechet", "-q", images, "--against", "digits", "--json", folder / "frechet.json"]
for command in [sample, frechet]:
    subprocess.run(command, env=outside, check=True)
by_pods, by_one = (json.loads(file.read_text())["frechet"] for file in [data / "frechet.json", folder / "frechet.json"])
print(f"Frechet distance of {SETTINGS['COUNT']} digits: {by_pods!r} by {count} pods, {by_one!r} by one process")
if by_pods != by_one:
    sys.exit("the distances differ")
