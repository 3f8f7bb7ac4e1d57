"""Perfetto's native format: tracks, and the events on them.

Source: Perfetto's ``track_event.proto`` and ``track_descriptor.proto``, as the package
``perfetto`` brings them.
"""

from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any, Final

from edgekit.core.errors import UsageError

if TYPE_CHECKING:
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TracePacket

Argument = tuple[str, int | float | str]

_CHUNK: Final = 20_000
"""Packets that are held before they are written: some megabytes."""
_SEQUENCE: Final = 1


class TraceFile:
    """Writes a trace; every moment is of the device's monotonic clock.

    Raises:
        UsageError: the package ``perfetto`` is not installed.
    """

    def __init__(self, stream: IO[bytes], first_ns: int) -> None:
        try:
            from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos
            from perfetto.trace_builder.proto_builder import TraceProtoBuilder
        except ImportError as error:
            raise UsageError(
                "a timeline needs Perfetto's package, which is not installed",
                hint="install edgekit with it: pip install 'edgekit[camera]'",
            ) from error
        self._stream = stream
        self._protos: Any = protos
        self._new_builder: Any = TraceProtoBuilder
        self._builder: Any = TraceProtoBuilder()
        self._held = 0
        self._tracks = 0
        self._interned: dict[tuple[str, str], int] = {}
        event = protos.TrackEvent
        self._begins, self._ends = event.TYPE_SLICE_BEGIN, event.TYPE_SLICE_END
        self._instant, self._counts = event.TYPE_INSTANT, event.TYPE_COUNTER
        self._follows = protos.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        self._start(first_ns)

    def process(self, pid: int, name: str) -> int:
        """Make the track of a process, and return its number."""
        descriptor = self._track()
        descriptor.process.pid = pid
        descriptor.process.process_name = _plain(name)
        return self._tracks

    def track(self, name: str, parent: int, *, rank: int = 0, about: str = "") -> int:
        """Make a track for slices, instants or other tracks, and return its number.

        Tracks of one name under one parent are shown as one, with a row each.

        Args:
            name: as it is shown.
            parent: number of the track that it is shown under.
            rank: its place among that one's, ascending; a process keeps its own order.
            about: what the track's details say.
        """
        self._child(name, parent, rank, about)
        return self._tracks

    def counter(self, name: str, unit: str, parent: int, *, rank: int = 0) -> int:
        """Make a track for values over time, and return its number."""
        self._child(name, parent, rank, "").counter.unit_name = unit
        return self._tracks

    def begin(
        self,
        track: int,
        at_ns: int,
        name: str,
        arguments: Iterable[Argument] = (),
        *,
        flow: int | None = None,
        ends_flow: bool = False,
    ) -> None:
        """Begin a slice within those that the track has open.

        Args:
            track: its number.
            at_ns: the moment.
            name: of the slice, in ASCII.
            arguments: what its details say.
            flow: number of the arrows that lead from one event to the next that has it.
            ends_flow: no more of them follow.
        """
        packet = self._packet(at_ns)
        event = packet.track_event
        event.type = self._begins
        event.track_uuid = track
        event.name = name
        self._tell(packet, arguments, flow, ends_flow)

    def end(self, track: int, at_ns: int) -> None:
        """End the slice that began last on this track."""
        event = self._packet(at_ns).track_event
        event.type = self._ends
        event.track_uuid = track

    def inner(self, track: int, at_ns: int, name: str, arguments: Iterable[Argument]) -> None:
        """Begin a slice whose name comes again and again: it is stored once."""
        packet = self._packet(at_ns)
        event = packet.track_event
        event.type = self._begins
        event.track_uuid = track
        event.name_iid = self._intern(packet, "event_names", name)
        self._tell(packet, arguments, None, ends_flow=False)

    def instant(
        self,
        track: int,
        at_ns: int,
        name: str,
        arguments: Iterable[Argument] = (),
        *,
        flow: int | None = None,
    ) -> None:
        """Mark a moment, at which a flow ends where one is given."""
        packet = self._packet(at_ns)
        event = packet.track_event
        event.type = self._instant
        event.track_uuid = track
        event.name = _plain(name)
        self._tell(packet, arguments, flow, ends_flow=True)

    def count(self, track: int, at_ns: int, value: float) -> None:
        """Set a counter's value from a moment on."""
        event = self._packet(at_ns).track_event
        event.type = self._counts
        event.track_uuid = track
        event.double_counter_value = value

    def flush(self) -> None:
        """Write what is held; a trace may be written in pieces."""
        self._stream.write(self._builder.serialize())
        self._builder = self._new_builder()
        self._held = 0

    def _start(self, first_ns: int) -> None:
        """Say that all time stamps are the monotonic clock's, and stay so when read."""
        monotonic = self._protos.BUILTIN_CLOCK_MONOTONIC
        packet = self._builder.add_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        snapshot = packet.clock_snapshot
        snapshot.primary_trace_clock = monotonic
        clock = snapshot.clocks.add()
        clock.clock_id, clock.timestamp = monotonic, first_ns
        packet = self._builder.add_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.sequence_flags = self._protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        packet.trace_packet_defaults.timestamp_clock_id = monotonic

    def _track(self) -> Any:  # noqa: ANN401 - a message that is made when Perfetto is imported
        packet = self._builder.add_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.sequence_flags = self._follows
        self._tracks += 1
        packet.track_descriptor.uuid = self._tracks
        # Children in the order of their rank, which a process's own do not have.
        packet.track_descriptor.child_ordering = self._protos.TrackDescriptor.EXPLICIT
        return packet.track_descriptor

    def _child(self, name: str, parent: int, rank: int, about: str) -> Any:  # noqa: ANN401
        descriptor = self._track()
        descriptor.name, descriptor.parent_uuid = _plain(name), parent
        descriptor.sibling_order_rank = rank
        if about:
            descriptor.description = _plain(about)
        return descriptor

    def _packet(self, at_ns: int) -> "TracePacket":
        if self._held >= _CHUNK:
            self.flush()
        self._held += 1
        packet = self._builder.add_packet()
        packet.timestamp = at_ns
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.sequence_flags = self._follows
        return packet

    def _tell(
        self,
        packet: "TracePacket",
        arguments: Iterable[Argument],
        flow: int | None,
        ends_flow: bool,
    ) -> None:
        event = packet.track_event
        if flow is not None:
            event.correlation_id = flow  # all of it is shown in one colour
            (event.terminating_flow_ids if ends_flow else event.flow_ids).append(flow)
        for name, value in arguments:
            told = event.debug_annotations.add()
            told.name_iid = self._intern(packet, "debug_annotation_names", name)
            if isinstance(value, str):
                kind = "debug_annotation_string_values"
                told.string_value_iid = self._intern(packet, kind, value)
            elif isinstance(value, float):
                told.double_value = value
            else:
                told.int_value = value

    def _intern(self, packet: "TracePacket", kind: str, text: str) -> int:
        """Return a text's number; the packet that has it first carries the text too."""
        number = self._interned.get((kind, text))
        if number is None:
            number = self._interned[kind, text] = len(self._interned) + 1
            entry = getattr(packet.interned_data, kind).add()
            entry.iid = number
            if kind == "debug_annotation_string_values":
                entry.str = _plain(text).encode()
            else:
                entry.name = _plain(text)
        return number


def _plain(text: str) -> str:
    """Return a text that can be written: names of a device's files may hold any bytes."""
    return text.encode(errors="replace").decode()
