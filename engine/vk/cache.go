package vk

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	vulkan "github.com/vulkan-go/vulkan"
)

// cacheFile is where the driver's compiled pipelines are kept between runs;
// an empty path keeps nothing.
type cacheFile struct {
	path string
	size int // as loaded or written last: unchanged caches are not written again
}

// maxCache bounds what is read back: a damaged or foreign file is ignored.
const maxCache = 64 << 20

func newCacheFile(key string) cacheFile {
	dir, err := os.UserCacheDir()
	if err != nil {
		return cacheFile{}
	}
	return cacheFile{path: filepath.Join(dir, "loquetier", "pipelines-"+key+".bin")}
}

func (c *cacheFile) load() []byte {
	info, err := os.Stat(c.path)
	if err != nil || info.Size() > maxCache {
		return nil
	}
	data, err := os.ReadFile(c.path)
	if err != nil {
		return nil
	}
	c.size = len(data)
	return data
}

// store writes through a temporary file so that a reader never sees half.
func (c *cacheFile) store(data []byte) error {
	if err := os.MkdirAll(filepath.Dir(c.path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(c.path), "pipelines-*.tmp")
	if err != nil {
		return err
	}
	_, werr := tmp.Write(data)
	cerr := tmp.Close()
	if werr != nil || cerr != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("write %s: %w", tmp.Name(), firstError(werr, cerr))
	}
	return os.Rename(tmp.Name(), c.path)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// createCache starts from the file's contents. Drivers check them against
// their own header and start empty where they do not match.
func (d *Device) createCache() error {
	d.caching = newCacheFile(d.Info.cacheKey)
	info := vulkan.PipelineCacheCreateInfo{SType: vulkan.StructureTypePipelineCacheCreateInfo}
	data := d.caching.load()
	if len(data) > 0 {
		info.InitialDataSize = uint(len(data))
		info.PInitialData = unsafe.Pointer(&data[0])
	}
	var err error
	d.cache, err = created("vkCreatePipelineCache", func(h *vulkan.PipelineCache) vulkan.Result {
		return vulkan.CreatePipelineCache(d.handle, &info, nil, h)
	})
	runtime.KeepAlive(data)
	if err != nil {
		return err
	}
	d.undo = append(d.undo, func() { vulkan.DestroyPipelineCache(d.handle, d.cache, nil) })
	return nil
}

// KeepPipelines writes what has been compiled to the user's cache folder, where
// the next program finds it. Close does so as well.
func (d *Device) KeepPipelines() error {
	if d.caching.path == "" {
		return nil
	}
	var n uint
	if err := check("vkGetPipelineCacheData", vulkan.GetPipelineCacheData(d.handle, d.cache, &n, nil)); err != nil {
		return err
	}
	if n == 0 || n > maxCache || int(n) == d.caching.size {
		return nil
	}
	data := make([]byte, n)
	if err := check("vkGetPipelineCacheData", vulkan.GetPipelineCacheData(d.handle, d.cache, &n, unsafe.Pointer(&data[0]))); err != nil {
		return err
	}
	if err := d.caching.store(data[:n]); err != nil {
		return fmt.Errorf("keep compiled pipelines: %w", err)
	}
	d.caching.size = int(n)
	return nil
}
