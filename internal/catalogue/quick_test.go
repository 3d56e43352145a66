//go:build linux && !soak

package catalogue

// soaking reports whether this is the long run.
const soaking = false
