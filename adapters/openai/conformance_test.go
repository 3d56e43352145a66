package openai_test

import (
	"testing"

	"chatmux/adapters"
	"chatmux/adapters/adaptertest"
	"chatmux/adapters/openai"
	"chatmux/normalize"
)

func TestConformance(t *testing.T) {
	adaptertest.Run(t, adaptertest.Vendor{
		Spec: openai.Spec,
		Key:  "planted-openai-key",
		Settings: func() adapters.Settings {
			s := openai.Spec.Settings().(*openai.Settings)
			s.APIKey = normalize.NewSecret("planted-openai-key")
			s.Model = "some-model"
			s.System = "You are the help desk."
			return s
		},
		StreamErrors: []adaptertest.StreamError{
			{
				Data: `{"error":{"message":"The engine is currently overloaded","type":"server_error","param":null,"code":"engine_overloaded"}}`,
				Kind: normalize.KindVendorFault,
			},
			{Data: `{"error":{"message":"Busy","code":503}}`, Kind: normalize.KindVendorFault},
			{Data: `{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}`, Kind: normalize.KindRateLimited},
			{Data: `{"error":{"message":"Slow down","type":"rate_limit_error","code":null}}`, Kind: normalize.KindRateLimited},
			{Data: `{"error":{"message":"Slow down","code":429}}`, Kind: normalize.KindRateLimited},
			{
				Data: `{"error":{"message":"Incorrect API key provided: planted-openai-key","type":"invalid_request_error","code":"invalid_api_key"}}`,
				Kind: normalize.KindUnauthorized,
			},
			{Data: `{"error":{"message":"No","type":"authentication_error","code":null}}`, Kind: normalize.KindUnauthorized},
			{
				Data: `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}`,
				Kind: normalize.KindQuota,
			},
			{Data: `{"error":{"message":"Filtered","type":null,"code":"content_filter","status":400}}`, Kind: normalize.KindRejected},
			{Data: `{"error":{"message":"Filtered","type":"invalid_request_error","code":"content_policy_violation"}}`, Kind: normalize.KindRejected},
			{Data: `{"error":{"message":"Filtered","type":null,"code":null,"status":400}}`, Kind: normalize.KindRejected},
			{Data: `{"error":{"message":"Odd","type":"odd","code":"odd"}}`, Kind: normalize.KindVendorFault},
			{Data: `{"error":"planted-openai-key is odd"}`, Kind: normalize.KindVendorFault},
			{Data: `{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],` +
				`"error":{"code":"server_error","message":"Provider disconnected"}}`, Kind: normalize.KindVendorFault},
		},
		StreamStrays: []string{
			`{"choices":[{"index":1,"delta":{"content":"` + adaptertest.Stray + `"},"finish_reason":null}]}`,
			`{"choices":[{"index":1,"delta":{"content":"` + adaptertest.Stray + `"},"finish_reason":"stop"}]}`,
			`{"id":"another","choices":[{"index":0,"delta":{"content":"` + adaptertest.Stray + `"},"finish_reason":"stop"}]}`,
		},
	})
}
