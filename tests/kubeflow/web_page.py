"""What KFP's web page serves beside the API: artifacts, logs of pods, and ML Metadata.

Contract: statuses and words of frontend/server at tag 2.17.0; ``archives=False`` makes its folders
those of 2.16 and before.
"""

import io
import tarfile
from collections.abc import Mapping

from tests.kubeflow.metadata_store import Store

Answer = tuple[int, str, bytes]  # status, kind and content
_SCHEMES = {"minio": "minio", "s3": "s3", "gcs": "gs"}
_TEXT = "text/html; charset=utf-8"  # as Express sends words


class WebPage:
    """The page's server; ``files`` holds the object store, by URI."""

    def __init__(self, metadata: Store, logs: Mapping[str, str], multi_user: bool, archives: bool):
        self.files: dict[str, bytes] = {}
        self.known: set[str] = set()  # URIs of artifacts in ML Metadata
        self._metadata, self._logs = metadata, logs
        self._multi_user, self._archives = multi_user, archives

    def answer(self, method: str, path: str, query: dict[str, str], content: bytes) -> Answer:
        """The answer to a request that is not for the API v2beta1."""
        service = "/ml_metadata.MetadataStoreService/"
        if method == "POST" and path.startswith(service):  # app.ts:334
            data = self._metadata.call(path.removeprefix(service), content)
            return 200, "application/grpc-web+proto", data
        if path.startswith("/artifacts/"):
            return self._artifact(path, query)
        if path == "/k8s/pod/logs":
            return self._log(query)
        return 404, _TEXT, f"<pre>Cannot {method} {path}</pre>".encode()

    def _artifact(self, path: str, query: dict[str, str]) -> Answer:
        _, _, source, bucket, key = path.split("/", 4)  # app.ts:192
        uri = f"{_SCHEMES[source]}://{bucket}/{key}"
        if self._multi_user and (refused := self._refused(uri, query)):
            return refused
        if uri in self.files:
            return 200, "application/octet-stream", self.files[uri]
        below = {n: d for n, d in self.files.items() if n.startswith(f"{uri}/")}
        if below and self._archives:  # handlers/artifacts.ts, streamDirectoryAsTarGz
            return 200, "application/gzip", _archive(below, f"{uri}/")
        words = "Failed to get object in bucket: S3Error: The specified key does not exist."
        return 500, _TEXT, words.encode()

    def _refused(self, uri: str, query: dict[str, str]) -> Answer | None:
        """handlers/artifacts.ts:114 and helpers/mlmd-validator.ts:380."""
        namespace = query.get("namespace")
        if not namespace:
            words = "Namespace parameter is required when authentication is enabled"
            return 400, _TEXT, words.encode()
        key = uri.partition("://")[2].partition("/")[2]
        if uri not in self.known and not key.startswith(f"private-artifacts/{namespace}/"):
            return 403, _TEXT, b"Artifact does not belong to the requested namespace"
        return None

    def _log(self, query: dict[str, str]) -> Answer:
        """handlers/pod-logs.ts:55."""
        if self._multi_user and not query.get("podnamespace"):
            return 422, _TEXT, b"podnamespace argument is required"
        if query["podname"] not in self._logs:
            return 500, _TEXT, b"Could not get main container logs: Error: pods not found"
        return 200, "text/plain", self._logs[query["podname"]].encode()


def _archive(files: Mapping[str, bytes], prefix: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name.removeprefix(prefix))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return content.getvalue()
