"""A platform: it registers a complaint, hears the receipt, and follows the case to its end.

`PLATFORM_URL=nats://platform-demo:<password>@127.0.0.1:4222 faststream run docs.examples.platform:app`
"""

import os

from shared.client import PlatformClient, Progress, Receipt

platform = PlatformClient("demo", os.environ.get("PLATFORM_URL", "nats://127.0.0.1:4222"))
app = platform.app

REGION = "510104017000"
COMPLAINT = {
    "channel": "app",
    "region": REGION,
    "nature": "complaint",
    "title": "小区电梯停运",
    "text": "物业公司一个月没有修电梯。",
    "parties": [{"name": "张三", "phone": "13800000000"}],
}


@app.after_startup
async def register() -> None:
    """The id is ours: whoever starts this program again publishes the same complaint, and nothing happens twice."""
    sequence = await platform.submit("register", COMPLAINT, id="complaint-2026-000123", region=REGION)
    print("kept as", sequence, flush=True)


@platform.receipts
async def answered(receipt: Receipt) -> None:
    print(receipt.type, receipt.data, flush=True)


@platform.progress
async def went_on(progress: Progress) -> None:
    print(progress.data.number, progress.data.step, progress.data.unit, flush=True)
