package adaptertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"chatmux/internal/sandbox"
	"chatmux/normalize"
)

var secretCases = []promise{
	{
		name:    "key_is_sent_in_its_header_only",
		promise: "the key is in the vendor's auth header of every request, and nowhere else",
		because: "URLs and bodies are logged by whoever stands in between",
		twice:   true,
		test: func(b *bench) error {
			if _, err := b.talk(context.Background(), "one", "two"); err != nil {
				return err
			}
			header := http.CanonicalHeaderKey(b.AuthHeader)
			for _, e := range b.server.Ledger() {
				request := e.Method + " " + e.Path
				if !strings.Contains(e.Header.Get(header), b.Key) {
					return fmt.Errorf("%s has no key in %s", request, header)
				}
				if bytes.Contains(e.Body, []byte(b.Key)) || strings.Contains(e.Path+"?"+e.Query, b.Key) {
					return fmt.Errorf("%s has the key in its URL or body", request)
				}
				for name, values := range e.Header {
					if name != header && strings.Contains(strings.Join(values, "\n"), b.Key) {
						return fmt.Errorf("%s has the key in %s", request, name)
					}
				}
			}
			return nil
		},
	},
	{
		name:    "headers_are_the_adapters_own",
		promise: "a request carries the headers that HTTP and the vendor need, and no other",
		because: "an Idempotency-Key makes net/http itself repeat a POST, and what callers say is not for the vendor's logs",
		twice:   true,
		test: func(b *bench) error {
			if _, err := b.talk(context.Background(), "one", "two"); err != nil {
				return err
			}
			known := map[string]bool{
				http.CanonicalHeaderKey(b.AuthHeader): true,
				"Accept":                              true, "Content-Type": true, "Content-Length": true, "User-Agent": true,
			}
			for _, e := range b.server.Ledger() {
				for name, values := range e.Header {
					if !known[name] || strings.Contains(strings.Join(values, "\n"), metadataCanary) {
						return fmt.Errorf("%s %s has the header %s: %q", e.Method, e.Path, name, values)
					}
				}
			}
			return nil
		},
	},
	{
		name:    "key_is_in_no_error",
		promise: "no error holds the key, whatever the vendor answers",
		because: "vendors repeat the key that they refuse, and errors are logged and shown",
		twice:   true,
		test: func(b *bench) error {
			ctx := context.Background()
			faults := []string{
				"echo_auth 400", "echo_auth 401", "echo_auth 403", "echo_auth 429", "echo_auth 500", "echo_auth 200",
				"html 500", "garbage", "reset",
			}
			return each(faults, itself, func(fault string) error {
				c, err := b.begin(ctx)
				if err != nil {
					return err
				}
				b.server.Script(sandbox.MustScript(fault)...)
				reply, err := b.give(ctx, b.turn(c, "hello"))
				if err == nil {
					return fmt.Errorf("no error, and %d replies", len(reply.Messages))
				}
				if where := leak(err, b.Key); where != "" {
					return fmt.Errorf("the key is in %s of the error", where)
				}
				if strings.Contains(fmt.Sprintf("%+v", reply), b.Key) {
					return errors.New("the key is in the reply beside the error")
				}
				return nil
			})
		},
	},
	{
		name:    "adapter_does_not_print_the_key",
		promise: "an adapter and its settings that are printed do not show the key",
		because: "somebody will log them",
		test: func(b *bench) error {
			for _, v := range []any{b.adapter, b.Settings()} {
				for _, verb := range []string{"%v", "%+v", "%#v"} {
					if strings.Contains(fmt.Sprintf(verb, v), b.Key) {
						return fmt.Errorf("%s of a %T shows the key", verb, v)
					}
				}
			}
			return nil
		},
	},
}

// leak says where in an error, or in what it wraps, a key stands.
func leak(err error, key string) string {
	if strings.Contains(err.Error(), key) || strings.Contains(fmt.Sprintf("%+v %#v", err, err), key) {
		return "the text"
	}
	var e *normalize.Error
	if errors.As(err, &e) && strings.Contains(fmt.Sprint(e.Detail, e.VendorCode, e.Fields, e.Text()), key) {
		return "a field"
	}
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(cause) {
		if strings.Contains(fmt.Sprintf("%+v %#v", cause, cause), key) {
			return "the cause"
		}
	}
	return ""
}
