"""Modal's control plane on this machine: as much of its gRPC API as a deployment and a container use.

The real client and the real container entry point talk to it. It remembers what they ask, hands out ids, keeps Secrets,
and plays the edge: requests go in as inputs and chunks of data, answers come out the same way (modal 1.6.4). A function
that the client calls is not run: what comes of it is told beforehand.
"""

# ruff: noqa: N802 -- RPCs have Modal's names

from __future__ import annotations

import asyncio
import itertools
import queue
import socket
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import grpclib.server
import psutil
from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal._serialization import deserialize_data_format, serialize, serialize_data_format
from modal._utils.grpc_testing import patch_mock_servicer
from modal_proto import api_grpc, api_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.message import Message

PATIENCE_SECONDS = 60.0
BUILDER_VERSION = "2025.06"
SUCCESS = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)


@dataclass
class Exchange:
    """One HTTP request on its way through a container.

    Attributes:
        number: Its place among all.
        incoming: ASGI messages to the application; None ends them.
        outgoing: ASGI messages from it; None after the last.
    """

    number: int
    incoming: asyncio.Queue[dict[str, Any] | None]
    outgoing: queue.Queue[dict[str, Any] | None] = field(default_factory=queue.Queue)

    @property
    def id(self) -> str:
        return f"fc-{self.number}"

    def head(self) -> tuple[int, dict[str, str]]:
        """Wait for the answer's status and headers."""
        message = self.outgoing.get(timeout=PATIENCE_SECONDS)
        assert message is not None
        headers = {name.decode(): value.decode() for name, value in message["headers"]}
        return message["status"], headers

    def pieces(self) -> Iterator[bytes]:
        """Yield the answer's body as it comes, to its end."""
        while (message := self.outgoing.get(timeout=PATIENCE_SECONDS)) is not None:
            yield message["body"]


def answers(reply: Callable[[Any, Any], Message]) -> Any:
    """Make an RPC of a function from request to reply; the request is remembered."""

    async def rpc(self: FakeModal, stream: Any) -> None:
        request = await stream.recv_message()
        self.asked[type(request).__name__.removesuffix("Request")].append(request)
        await stream.send_message(reply(self, request))

    return rpc


@patch_mock_servicer
class FakeModal(api_grpc.ModalClientBase):
    """The servicer, in a thread of its own.

    Attributes:
        url: Where it listens.
        asked: Every request, by the name of its RPC.
        secrets: What is in each Secret, by its name.
        outcome: What comes of a function that the client calls.
        arguments: Those of every process of this machine, while a Secret was made or looked up.
        frozen: Set when a container waits for its snapshot.
        listening: Set when a container says that its port is open.
    """

    def __init__(self) -> None:
        self.asked: defaultdict[str, list[Any]] = defaultdict(list)
        self.frozen = threading.Event()
        self.listening = threading.Event()
        self.url = ""
        self.secrets: dict[str, dict[str, str]] = {}
        self.outcome = api_pb2.GenericResult(status=SUCCESS.status, data=serialize(None))
        self.arguments: list[str] = []
        self._numbers = itertools.count(1)
        self._exchanges: dict[str, Exchange] = {}
        self._inputs: asyncio.Queue[api_pb2.FunctionGetInputsItem] = asyncio.Queue()
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> grpclib.server.Server:
        listener = socket.create_server(("127.0.0.1", 0))
        server = grpclib.server.Server([self])
        await server.start(sock=listener)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        return server

    async def _end(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    def _id(self, prefix: str) -> str:
        return f"{prefix}-{next(self._numbers)}"

    # -- the edge

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Exchange:
        """Send a request to whichever container asks for one."""
        exchange = Exchange(next(self._numbers), asyncio.Queue())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "https",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("198.51.100.7", 4711),
            "server": ("warmgate.modal.run", 443),
        }
        asked = api_pb2.FunctionInput(
            args=serialize(((scope,), {})), data_format=api_pb2.DATA_FORMAT_PICKLE, method_name="web"
        )
        item = api_pb2.FunctionGetInputsItem(
            input_id=f"in-{exchange.number}", function_call_id=exchange.id, input=asked
        )
        self._exchanges[exchange.id] = exchange
        self._put(exchange.incoming, {"type": "http.request", "body": body, "more_body": False})
        self._put(self._inputs, item)
        return exchange

    def hang_up(self, exchange: Exchange) -> None:
        """Tell the container that the client has left."""
        self._put(exchange.incoming, {"type": "http.disconnect"})

    def end_container(self) -> None:
        """Tell a container that it is no longer needed."""
        self._put(self._inputs, api_pb2.FunctionGetInputsItem(kill_switch=True))

    def _put(self, into: asyncio.Queue[Any], what: object) -> None:
        self._loop.call_soon_threadsafe(into.put_nowait, what)

    async def FunctionGetInputs(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(api_pb2.FunctionGetInputsResponse(inputs=[await self._inputs.get()]))

    async def FunctionCallGetDataIn(self, stream: Any) -> None:
        exchange = self._exchanges[(await stream.recv_message()).function_call_id]
        for index in itertools.count(1):
            message = await exchange.incoming.get()
            data = serialize_data_format(message, api_pb2.DATA_FORMAT_ASGI)
            await stream.send_message(api_pb2.DataChunk(data_format=api_pb2.DATA_FORMAT_ASGI, data=data, index=index))

    @answers
    def FunctionCallPutDataOut(self, request: Any) -> Message:
        exchange = self._exchanges[request.function_call_id]
        for chunk in request.data_chunks:
            if chunk.data_format == api_pb2.DATA_FORMAT_ASGI:
                exchange.outgoing.put(deserialize_data_format(chunk.data, chunk.data_format, None))
        return Empty()

    @answers
    def FunctionPutOutputs(self, request: Any) -> Message:
        for output in request.outputs:
            self._exchanges[f"fc-{output.input_id.removeprefix('in-')}"].outgoing.put(None)
        return Empty()

    # -- a container's life

    @answers
    def ContainerCheckpoint(self, _: Any) -> Message:
        self.frozen.set()
        return Empty()

    @answers
    def ContainerServerLifecycleReady(self, _: Any) -> Message:
        self.listening.set()
        return Empty()

    @answers
    def FunctionGetDynamicConcurrency(self, request: Any) -> Message:
        return api_pb2.FunctionGetDynamicConcurrencyResponse(concurrency=request.max_concurrency)

    ContainerHello = answers(lambda *_: Empty())
    ContainerHeartbeat = answers(lambda *_: api_pb2.ContainerHeartbeatResponse())
    TaskResult = answers(lambda *_: Empty())
    VolumeCommit = answers(lambda *_: api_pb2.VolumeCommitResponse())

    # -- a deployment

    @answers
    def EnvironmentGetOrCreate(self, _: Any) -> Message:
        settings = api_pb2.EnvironmentSettings(image_builder_version=BUILDER_VERSION)
        return api_pb2.EnvironmentGetOrCreateResponse(
            environment_id="en-1", metadata=api_pb2.EnvironmentMetadata(name="main", settings=settings)
        )

    @answers
    def AppCreate(self, _: Any) -> Message:
        return api_pb2.AppCreateResponse(app_id="ap-1")

    @answers
    def MountGetOrCreate(self, _: Any) -> Message:
        return api_pb2.MountGetOrCreateResponse(mount_id=self._id("mo"))

    @answers
    def SecretGetOrCreate(self, request: Any) -> Message:
        for process in psutil.process_iter(["cmdline"]):
            self.arguments += process.info["cmdline"] or []
        name = request.deployment_name
        if request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            if name in self.secrets:
                raise GRPCError(Status.ALREADY_EXISTS, f"Secret '{name}' already exists.")
            self.secrets[name] = dict(request.env_dict)
        if not set(request.required_keys) <= self.secrets.get(name, {}).keys():
            raise GRPCError(Status.NOT_FOUND, f"There is no Secret '{name}' with {', '.join(request.required_keys)}.")
        return api_pb2.SecretGetOrCreateResponse(secret_id=f"st-{name}")

    @answers
    def VolumeGetOrCreate(self, request: Any) -> Message:
        return api_pb2.VolumeGetOrCreateResponse(
            volume_id=f"vo-{request.deployment_name}", metadata=api_pb2.VolumeMetadata(name=request.deployment_name)
        )

    @answers
    def ImageGetOrCreate(self, _: Any) -> Message:
        return api_pb2.ImageGetOrCreateResponse(image_id=f"im-{len(self.asked['ImageGetOrCreate'])}", result=SUCCESS)

    @answers
    def FunctionPrecreate(self, request: Any) -> Message:
        return api_pb2.FunctionPrecreateResponse(
            function_id=f"fu-{request.function_name}", handle_metadata=_handle(request)
        )

    @answers
    def FunctionCreate(self, request: Any) -> Message:
        function = request.function
        data = api_pb2.FunctionData(
            function_name=function.function_name,
            ranked_functions=[api_pb2.FunctionData.RankedFunction(rank=0, function=function)],
        )
        return api_pb2.FunctionCreateResponse(
            function_id=f"fu-{function.function_name}",
            function=function,
            function_data=data,
            handle_metadata=_handle(function),
        )

    @answers
    def ClassCreate(self, _: Any) -> Message:
        return api_pb2.ClassCreateResponse(class_id="cs-1", handle_metadata=api_pb2.ClassHandleMetadata())

    @answers
    def SecretList(self, _: Any) -> Message:
        items = [
            api_pb2.SecretListItem(secret_id=f"st-{name}", metadata=api_pb2.SecretMetadata(name=name))
            for name in self.secrets
        ]
        return api_pb2.SecretListResponse(items=items)

    TokenInfoGet = answers(lambda *_: api_pb2.TokenInfoGetResponse(token_id="ak-test"))
    AppGetByDeploymentName = answers(lambda *_: api_pb2.AppGetByDeploymentNameResponse())
    AppGetLayout = answers(lambda *_: api_pb2.AppGetLayoutResponse())
    AppHeartbeat = answers(lambda *_: Empty())
    AppClientDisconnect = answers(lambda *_: Empty())
    AppPublish = answers(lambda *_: api_pb2.AppPublishResponse(url="https://modal.com/apps/warmgate", deployed_at=1))
    MountBatchedCheckExistence = answers(lambda *_: api_pb2.MountBatchedCheckExistenceResponse())

    # -- a function that the client calls

    @answers
    def FunctionMap(self, request: Any) -> Message:
        inputs = [api_pb2.FunctionPutInputsResponseItem(input_id=self._id("in")) for _ in request.pipelined_inputs]
        return api_pb2.FunctionMapResponse(function_call_id=self._id("fc"), pipelined_inputs=inputs)

    @answers
    def FunctionGetOutputs(self, _: Any) -> Message:
        output = api_pb2.FunctionGetOutputsItem(result=self.outcome, data_format=api_pb2.DATA_FORMAT_PICKLE)
        return api_pb2.FunctionGetOutputsResponse(outputs=[output])

    AppGetLogs = answers(lambda *_: api_pb2.TaskLogsBatch(app_done=True))


def fake_modal() -> FakeModal:
    """Return one. `patch_mock_servicer` makes each of the 250 RPCs that are not here answer that it is not."""
    return FakeModal()  # type: ignore[abstract]


def _handle(function: Any) -> Any:
    return api_pb2.FunctionHandleMetadata(
        function_name=function.function_name,
        method_handle_metadata={
            name: api_pb2.FunctionHandleMetadata(
                function_name=definition.function_name, web_url="https://warmgate.modal.run"
            )
            for name, definition in function.method_definitions.items()
        },
    )
