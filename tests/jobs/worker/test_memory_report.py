from __future__ import annotations

from safelight.generation.artifact import MemoryUse
from safelight.generation.memory_steps import OtherDevice
from safelight.jobs.worker.memory_report import MAX_FAMILIES, MemoryReport
from safelight.runtime.devices.memory import DeviceMemory
from safelight.runtime.devices.summary import DeviceSummary
from safelight.runtime.memory_plan.planner import MemoryPlan, StagePlan

DEVICE = DeviceMemory("cuda", 8, 7, 6)


def planned(**peaks: int) -> MemoryPlan:
    stages = tuple(StagePlan(name, name, "device", 1, peak - 1, peak) for name, peak in peaks.items())
    return MemoryPlan("fp16", 10**9, stages, (), phases=True, fits=True)


def test_stages_as_planned_and_as_measured() -> None:
    report = MemoryReport()
    plan = planned(text_encoder=5, text_encoder_2=7, denoise=20, decode=11)
    report.add("sdxl", MemoryUse(plan, {"text encoders": 6, "denoise": 19}))
    found = report.to_dict(DEVICE, 2)
    assert found["device"] == {"kind": "cuda", "total": 8, "usable": 7, "host": 6}
    assert (found["shortages"], found["others"], found["devices"]) == (2, [], [])
    assert [tuple(stage.values()) for stage in found["stages"]] == [
        ("sdxl", "text encoders", 7, 6),
        ("sdxl", "denoise", 20, 19),
        ("sdxl", "decode", 11, None),
    ]


def test_other_devices_and_what_is_on_them() -> None:
    vae = OtherDevice(DeviceMemory("cpu", 4, 3, 3), ("vae",))
    cpu = DeviceSummary("cpu", "Xeon", ("fp32",), "2 threads", ("vae",), 4, 3)
    found = MemoryReport().to_dict(DEVICE, 0, [vae], [cpu], ("Another device was named.",))
    assert found["notes"] == ["Another device was named."]
    assert found["others"] == [
        {"memory": {"kind": "cpu", "total": 4, "usable": 3, "host": 3}, "groups": ("vae",)}
    ]
    assert found["devices"][0]["used_for"] == ("vae",)


def test_the_most_recent_families_first_and_not_too_many() -> None:
    report = MemoryReport()
    for number in range(MAX_FAMILIES + 2):
        report.add(f"family {number}", MemoryUse(None, {"denoise": number}))
    report.add("family 5", MemoryUse(None, {"denoise": 99}))
    stages = report.to_dict(DEVICE, 0)["stages"]
    assert len(stages) == MAX_FAMILIES
    assert (stages[0]["family"], stages[0]["planned"], stages[0]["measured"]) == ("family 5", None, 99)
    assert stages[-1]["family"] == "family 2"
