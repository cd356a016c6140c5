// Package lab holds experiments with kernels; see README.md.
package lab

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"loquetier/engine/vk"
)

// variant is a module with its specialization constants.
type variant struct {
	file      string
	constants []uint32 // by id
	bm, bn    int
}

func khr(file string, wg, bm, bn, bk, wm, wn, swizzle, pad, wk int, t uint32) variant {
	return variant{file, []uint32{uint32(wg), uint32(bm), uint32(bn), uint32(bk), uint32(wm), uint32(wn), t, uint32(swizzle), uint32(pad), uint32(wk)}, bm, bn}
}

func nv(file string, wg, bm, bn, bk, swizzle int) variant {
	return variant{file, []uint32{uint32(wg), uint32(bm), uint32(bn), uint32(bk), uint32(swizzle)}, bm, bn}
}

// half fills memory with random float16 numbers.
func half(dst []byte, at uint64, seed uint64) {
	r := rand.New(rand.NewPCG(seed, at))
	for i := 0; i < len(dst); i += 2 {
		binary.LittleEndian.PutUint16(dst[i:], float16.Fromfloat32(float32(r.Float64()-0.5)).Bits())
	}
}

// mat is a random matrix on the device and on the host.
type mat struct {
	buf  vk.Buffer
	host []byte
}

func matrix(t *testing.T, d *vk.Device, n int, seed uint64) mat {
	buf, err := d.Alloc(vk.Local, uint64(2*n))
	require.NoError(t, err)
	host := make([]byte, 2*n)
	half(host[:min(len(host), 1<<24)], 0, seed)
	for i := 1 << 24; i < len(host); i *= 2 {
		copy(host[i:], host[:i])
	}
	require.NoError(t, d.Write(buf, 0, buf.Size, func(dst []byte, at uint64) error { copy(dst, host[at:]); return nil }))
	return mat{buf, host}
}

func (m mat) at(i int) float64 {
	return float64(float16.Frombits(binary.LittleEndian.Uint16(m.host[2*i:])).Float32())
}

// The bare product Y = X . W^T by tile, size and way of staging.
func TestMatmul(t *testing.T) {
	d := open(t)
	info := d.Info
	fmt.Println(info.Name, info.Driver, info.MatrixF16, info.MatrixBF16, info.SharedMemory)
	shapes := [][3]int{{4096, 4096, 4096}, {2048, 28672, 4096}, {1024, 28672, 4096}, {1024, 4096, 14336}, {512, 28672, 4096}, {512, 4096, 4096}, {512, 4096, 14336}}
	tt := uint32(info.MatrixF16.M)
	if info.Type == vk.CPU {
		shapes = [][3]int{{256, 256, 256}}
	}
	variants := variantsFor(tt, info.SubgroupSize)
	most := 0
	for _, s := range shapes {
		most = max(most, s[0]*s[2], s[1]*s[2], s[0]*s[1])
	}
	x, w := matrix(t, d, 4096*14336, 1), matrix(t, d, 28672*4096*2, 2)
	y, err := d.Alloc(vk.Local, uint64(4*most))
	require.NoError(t, err)
	stop := time.Now().Add(50 * time.Second)
	for _, v := range variants {
		if time.Now().After(stop) {
			fmt.Println("out of time")
			break
		}
		code, err := os.ReadFile(v.file + ".spv")
		require.NoError(t, err)
		var cs []vk.Constant
		for i, c := range v.constants {
			cs = append(cs, vk.Constant{ID: uint32(i), Value: c})
		}
		start := time.Now()
		p, err := d.NewPipeline(v.file, code, cs)
		if err != nil {
			fmt.Println(v, err)
			continue
		}
		took := time.Since(start)
		line := fmt.Sprintf("%-6s %v", v.file, v.constants)
		worst := 0.0
		for _, s := range shapes {
			m, n, k := s[0], s[1], s[2]
			if n%v.bn != 0 || m%v.bm != 0 {
				line += "     -"
				continue
			}
			push := struct {
				x, w, y uint64
				m, n, k uint32
				_       uint32
			}{x.buf.Address, w.buf.Address, y.Address, uint32(m), uint32(n), uint32(k), 0}
			reps := 4 + int(30e12/(2*float64(m)*float64(n)*float64(k)))
			rec := d.NewRecorder(true)
			for range reps {
				rec.Dispatch(vk.Dispatch{Pipeline: p, Push: vk.Push(&push), Groups: [3]uint32{uint32((m + v.bm - 1) / v.bm * (n / v.bn)), 1, 1}, Reads: []vk.Range{x.buf.All(), w.buf.All()}, Writes: []vk.Range{y.All()}})
			}
			if err := rec.Run(); err != nil {
				fmt.Println(v, err)
				return
			}
			ts, err := rec.Timings()
			require.NoError(t, err)
			slices.SortFunc(ts, func(a, b vk.Timing) int { return cmp.Compare(a.Time, b.Time) })
			best := ts[len(ts)/2].Time
			line += fmt.Sprintf(" %5.0f", 2*float64(m)*float64(n)*float64(k)/best.Seconds()/1e12)
			// check a few outputs
			row := make([]byte, 4*n)
			for i := range 3 {
				r := (i*m/3 + 37*i + 5) % m
				require.NoError(t, d.Read(y, uint64(4*r*n), row))
				for j := range 20 {
					c := (j*n/20 + 13*j) % n
					want, scale := 0.0, 0.0
					for q := range k {
						p := x.at(r*k+q) * w.at(c*k+q)
						want += p
						scale += p * p
					}
					got := float64(math.Float32frombits(binary.LittleEndian.Uint32(row[4*c:])))
					if !(math.Abs(got-want) <= worst*math.Sqrt(scale)) {
						worst = math.Abs(got-want) / math.Sqrt(scale)
					}
				}
			}
		}
		fmt.Printf("%s  err %.1e compile %dms\n", line, worst, took.Milliseconds())
	}
}

// open opens the best device, where the lab was asked for.
func open(t *testing.T) *vk.Device {
	if os.Getenv("LOQUETIER_LAB") == "" {
		t.Skip("an experiment: set LOQUETIER_LAB to run it")
	}
	in, err := vk.Open()
	require.NoError(t, err)
	infos, err := in.Devices()
	require.NoError(t, err)
	info, err := vk.Select(infos, "")
	require.NoError(t, err)
	d, err := in.OpenDevice(info)
	require.NoError(t, err)
	return d
}

func variantsFor(t uint32, subgroup int) []variant {
	if t == 8 {
		return []variant{
			khr("khr1", 4*subgroup, 64, 64, 32, 32, 32, 8, 1, 1, t), khr("khr2", 4*subgroup, 64, 64, 32, 32, 32, 8, 1, 1, t),
			khr("khr1b", 8*subgroup, 64, 64, 32, 32, 32, 8, 1, 2, t),
		}
	}
	return []variant{
		khr("khr1b", 256, 128, 128, 64, 64, 64, 8, 1, 2, t),
		nv("nv2u", 128, 128, 128, 64, 8),
		nv("nv2u4", 128, 128, 128, 64, 8),
		nv("nv2u", 128, 128, 128, 64, 4),
		nv("nv2u", 128, 128, 128, 64, 16),
		nv("nv2u", 256, 128, 256, 64, 8),
		nv("nv2u", 256, 256, 128, 64, 4),
		nv("nv2u", 256, 128, 256, 32, 8),
		nv("nv2u", 256, 256, 128, 32, 4),
		nv("nv2u4", 256, 256, 128, 32, 4),
		nv("nv2u", 256, 128, 128, 64, 8),
		nv("nv2u", 64, 64, 128, 64, 8),
		nv("nv2u", 64, 128, 64, 64, 8),
		nv("nv2u", 128, 64, 128, 64, 8),
		nv("nv2u", 128, 64, 256, 64, 8),
		nv("nv2u", 128, 256, 64, 64, 8),
		khr("khr1b", 128, 128, 128, 32, 64, 64, 8, 1, 1, t),
		khr("khr1b", 256, 128, 128, 64, 32, 64, 8, 1, 1, t),
		khr("khr1b", 256, 128, 128, 32, 32, 64, 8, 1, 1, t),
		khr("khr2b", 128, 128, 128, 32, 64, 64, 8, 1, 1, t),
		khr("khr1b", 256, 256, 128, 32, 64, 64, 4, 1, 1, t),
		nv("nv2u", 512, 256, 256, 32, 4),
	}
}
