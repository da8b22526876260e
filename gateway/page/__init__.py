"""The page at `/`: what a browser is sent, as it is in this directory. There is no build step.

    index.html     both views; `main.js` shows one of them, asks for a key and for `/status`
    *.css          `base` is colours, type and parts; the others are a view each
    status.js      the status view, with `charts.js`; `poll.js` asks again, but only while somebody looks
    playground.js  the other view: `stream.js` asks, `turns.js` shows, `options.js` and `image.js` say what is asked for
    dom.js         elements; text never becomes markup
    words.js       numbers, times and names for people
    key.js         the API key, for as long as the tab is open

Nothing is fetched from anywhere else, and the headers in `gateway.routes.page` see to that.
"""
