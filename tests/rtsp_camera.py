"""A network camera for tests: RTSP, with JPEG over RTP within the same connection.

It speaks as much of RFC 2326 (RTSP), RFC 3550 (RTP) and RFC 2435 (JPEG in RTP) as FFmpeg asks for.
"""

import socketserver
import struct
import threading
from contextlib import contextmanager

import cv2

PACKET = 1400
CLOCK = 90000


class Camera:
    """What the server does.

    Attributes:
        told_fps: rate that its description claims.
        fps: rate that it sends at.
        frames: how many it sends; then it is silent.
        hang_up: whether it ends the connection then.
        silent: whether it does not even answer.
        waits_after: after so many frames it waits for ``go_on``.
    """

    def __init__(self, frames, *, told_fps=25, fps=25, hang_up=False, silent=False, waits_after=0):
        self.frames, self.told_fps, self.fps = frames, told_fps, fps
        self.hang_up, self.silent = hang_up, silent
        self.waits_after = waits_after
        self.go_on, self.stop = threading.Event(), threading.Event()


def jpeg_parts(picture):
    """A picture's quantisation tables and its scan; its Huffman tables are the usual ones."""
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    data = cv2.imencode(".jpg", picture, options)[1].tobytes()
    tables, place = b"", 2
    while True:
        marker, length = struct.unpack_from(">HH", data, place)
        body = data[place + 4 : place + 2 + length]
        place += 2 + length
        if marker == 0xFFDB:
            tables += b"".join(body[at + 1 : at + 65] for at in range(0, len(body), 65))
        if marker == 0xFFDA:
            return tables, data[place:-2]


def packets(picture, number, stamp):
    """RTP packets of one picture."""
    tables, scan = jpeg_parts(picture)
    height, width = picture.shape[:2]
    place = 0
    while place < len(scan):
        part = scan[place : place + PACKET]
        last = place + len(part) == len(scan)
        head = struct.pack(">BBHII", 0x80, 26 | last << 7, number & 0xFFFF, stamp, 7)
        head += struct.pack(">IBBBB", place, 1, 255, width // 8, height // 8)
        if place == 0:
            head += struct.pack(">BBH", 0, 0, len(tables)) + tables
        yield head + part
        number += 1
        place += len(part)


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        camera = self.server.camera
        if camera.silent:
            camera.stop.wait(20)
            return
        try:
            while self.answer(camera):
                pass
            self.play(camera)
        except OSError:
            pass  # the reader is gone

    def answer(self, camera):
        """Answer one request; false once it was PLAY."""
        lines = []
        while line := self.rfile.readline().decode().strip():
            lines.append(line)
        if not lines:
            raise OSError("hung up")
        verb, url = lines[0].split()[:2]
        more = {"OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n"}.get(verb, "")
        body = ""
        if verb == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\n"
                f"c=IN IP4 0.0.0.0\r\na=framerate:{camera.told_fps}\r\na=control:one\r\n"
            )
            more = f"Content-Type: application/sdp\r\nContent-Base: {url}/\r\n"
        if verb == "SETUP":
            more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        order = next(line for line in lines if line.lower().startswith("cseq"))
        answer = (
            f"RTSP/1.0 200 OK\r\n{order}\r\nSession: 1\r\n{more}Content-Length: {len(body)}\r\n"
        )
        self.wfile.write(f"{answer}\r\n{body}".encode())
        return verb != "PLAY"

    def play(self, camera):
        number = 0
        for index in range(camera.frames):
            for packet in packets(camera.picture(index), number, index * CLOCK // camera.fps):
                self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                number += 1
            if index + 1 == camera.waits_after:
                camera.go_on.wait(60)
            if camera.stop.wait(1 / camera.fps):
                return
        if not camera.hang_up:
            camera.stop.wait(20)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def serving(camera, picture, port=0):
    """Serve a camera on a port of this machine; gives its URL.

    Args:
        camera: what it does.
        picture: makes the picture ``uint8[H, W, 3]`` (BGR) of a number.
        port: 0 for any that is free.
    """
    camera.picture = picture
    with _Server(("127.0.0.1", port), _Handler) as server:
        server.camera = camera
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"rtsp://127.0.0.1:{server.server_address[1]}/camera"
        finally:
            camera.stop.set()
            camera.go_on.set()
            server.shutdown()
            thread.join()
