"""Images in requests: what a client names is fetched and checked here, and llama-server gets `data:` URLs only.

llama-server itself would fetch any address, follow redirects anywhere, and hand what it cannot read to ffmpeg.

    policy      what is allowed, and how much
    allowance   what is left of it for one request
    refusal     why an image is not taken
    data_urls   `data:` URLs
    remote      `https:` URLs, read strictly
    addresses   which addresses are public
    names       from a host's name to the addresses that may be connected to
    fetching    from an `https:` URL to bytes, over a connection to an address that was checked
    formats     what bytes are, by their content, and how large the picture is
    png         whether a PNG's packed data is as large as its header says
    resolving   all images of a request
"""
