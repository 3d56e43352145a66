package httpapi

// maxHook is the largest body that is taken from a vendor: 1 MiB, whatever callers may
// send.
const maxHook = 1 << 20

// hook is POST /hooks/{backend}/{secret}: a vendor tells something by itself. The body
// is the vendor's, so it is not held to what our own callers have to keep. 200 says
// that what it told is durable; vendors take no other status for that.
func (c *call) hook() error {
	buf := getBuffer()
	defer putBuffer(buf)
	if c.r.ContentLength > maxHook {
		return c.tooLarge(maxHook)
	}
	if err := c.readBody(buf, maxHook); err != nil {
		return err
	}
	if err := c.api.engine.Receive(c.r.Context(), c.pathPart("backend"), c.r.Header, *buf); err != nil {
		return err
	}
	return c.ok(func(b []byte) []byte { return append(b, "{}"...) })
}
